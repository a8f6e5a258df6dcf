//! What several tests send their connections to.

/// A ReplicationController `echo` of so many pods of the test image, and a NodePort Service `echo` (30090) to their TCP echo.
pub fn echo(replicas: u32) -> String {
    format!(
        "
apiVersion: v1
kind: ReplicationController
metadata: {{name: echo}}
spec:
  replicas: {replicas}
  selector: {{app: echo}}
  template:
    metadata: {{labels: {{app: echo}}}}
    spec:
      containers: [{{name: web, image: 'localhost/orlop/web:v1'}}]
---
apiVersion: v1
kind: Service
metadata: {{name: echo}}
spec:
  type: NodePort
  selector: {{app: echo}}
  ports: [{{name: tcp, port: 9000, nodePort: 30090}}]
"
    )
}
