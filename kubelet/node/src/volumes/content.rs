//! The files of configMap, secret, projected and downwardAPI volumes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, DownwardAPIVolumeFile, KeyToPath, Pod, Volume, VolumeProjection};

use super::File;
use crate::env::{FieldContext, field, resource_field};
use crate::error::PodError;
use crate::kubelet::Kubelet;
use crate::objects::Data;
use crate::pod;

type Files = BTreeMap<String, File>;

struct Writer<'a> {
    kubelet: &'a Kubelet,
    pod: &'a Pod,
    context: FieldContext,
    anew: bool,
}

/// The files of one volume of the pod.
pub async fn files(
    kubelet: &Kubelet,
    pod: &Pod,
    volume: &Volume,
    pod_ips: &[String],
    anew: bool,
) -> Result<Files, PodError> {
    let writer = Writer { kubelet, pod, context: kubelet.field_context(pod_ips), anew };
    if let Some(source) = &volume.config_map {
        let mode = source.default_mode;
        return writer.config_map(&source.name, source.items.as_deref(), source.optional, mode).await;
    }
    if let Some(source) = &volume.secret {
        let name = source.secret_name.clone().unwrap_or_default();
        return writer.secret(&name, source.items.as_deref(), source.optional, source.default_mode).await;
    }
    if let Some(source) = &volume.downward_api {
        return writer.downward(source.items.as_deref().unwrap_or_default(), source.default_mode);
    }
    let mut all = Files::new();
    if let Some(source) = &volume.projected {
        for projection in source.sources.iter().flatten() {
            all.extend(writer.projection(projection, source.default_mode).await?);
        }
    }
    Ok(all)
}

impl Writer<'_> {
    async fn projection(&self, source: &VolumeProjection, mode: Option<i32>) -> Result<Files, PodError> {
        if let Some(source) = &source.config_map {
            return self.config_map(&source.name, source.items.as_deref(), source.optional, mode).await;
        }
        if let Some(source) = &source.secret {
            return self.secret(&source.name, source.items.as_deref(), source.optional, mode).await;
        }
        if let Some(source) = &source.downward_api {
            return self.downward(source.items.as_deref().unwrap_or_default(), mode);
        }
        if let Some(source) = &source.service_account_token {
            let audience = source.audience.as_deref().unwrap_or_default();
            let seconds = source.expiration_seconds.unwrap_or(3600);
            let token = self.kubelet.tokens.get(self.pod, audience, seconds).await?;
            let group = pod::spec(self.pod).security_context.as_ref().and_then(|context| context.fs_group);
            // As Kubernetes does: a group that may read is enough, the others then may not.
            let mode = if group.is_some() { 0o600 } else { permissions(mode) };
            return Ok([(source.path.clone(), File { bytes: token.into_bytes(), mode })].into());
        }
        Err(PodError::ContainerConfig(
            "this kubelet projects configMap, secret, downwardAPI and serviceAccountToken only".into(),
        ))
    }

    async fn config_map(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: Option<i32>,
    ) -> Result<Files, PodError> {
        let data = self.kubelet.objects.config_map(pod::namespace(self.pod), name, self.anew).await?;
        self.select("configmap", name, data, items, optional, mode)
    }

    async fn secret(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: Option<i32>,
    ) -> Result<Files, PodError> {
        let data = self.kubelet.objects.secret(pod::namespace(self.pod), name, self.anew).await?;
        self.select("secret", name, data, items, optional, mode)
    }

    fn select(
        &self,
        kind: &str,
        name: &str,
        data: Option<Data>,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: Option<i32>,
    ) -> Result<Files, PodError> {
        let optional = optional == Some(true);
        let Some(data) = data else {
            if optional {
                return Ok(Files::new());
            }
            return Err(PodError::Api(format!("{kind} \"{name}\" not found")));
        };
        let file = |bytes: &Vec<u8>, mode| File { bytes: bytes.clone(), mode: permissions(mode) };
        let Some(items) = items.filter(|items| !items.is_empty()) else {
            return Ok(data.iter().map(|(key, bytes)| (key.clone(), file(bytes, mode))).collect());
        };
        let mut files = Files::new();
        for item in items {
            match data.get(&item.key) {
                Some(bytes) => {
                    files.insert(item.path.clone(), file(bytes, item.mode.or(mode)));
                }
                None if optional => {}
                None => {
                    let message = format!(
                        "references non-existent {} key: {}",
                        if kind == "configmap" { "config" } else { kind },
                        item.key
                    );
                    return Err(PodError::ContainerConfig(message));
                }
            }
        }
        Ok(files)
    }

    fn downward(&self, items: &[DownwardAPIVolumeFile], mode: Option<i32>) -> Result<Files, PodError> {
        let mut files = Files::new();
        for item in items {
            let text = if let Some(reference) = &item.field_ref {
                field(self.pod, &reference.field_path, &self.context)
            } else if let Some(reference) = &item.resource_field_ref {
                resource_field(self.pod, &Container::default(), reference, &self.context)
            } else {
                continue;
            };
            let bytes = text.map_err(PodError::ContainerConfig)?.into_bytes();
            files.insert(item.path.clone(), File { bytes, mode: permissions(item.mode.or(mode)) });
        }
        Ok(files)
    }
}

fn permissions(mode: Option<i32>) -> u32 {
    mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(0o644)
}
