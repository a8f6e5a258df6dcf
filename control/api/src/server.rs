//! The API server as a whole: its parts, its start and its end.

use std::sync::{Arc, PoisonError, RwLock};

use http::{Request, Response};
use orlop_auth::{AuthorityError, ClientCertificates, UserInfo};
use orlop_store::StoreError;
use tokio_util::sync::CancellationToken;

use crate::admission::{Hooks, Policies, Turns, TypeChecker};
use crate::aggregator::Aggregator;
use crate::allocation::Allocator;
use crate::audit::{Audit, AuditError};
use crate::authenticate::Identity;
use crate::authorize::Authorizer;
use crate::cache::Hub;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::flow_control::FlowControl;
use crate::metrics::{AuditMetrics, Metrics};
use crate::registry::Registry;
use crate::status::Status;
use crate::webhook::Webhooks;
use crate::wire::{Body, BoxError};

/// Why the server does not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The store cannot be read.
    #[error("the store cannot be read: {0}")]
    Store(#[from] StoreError),
    /// The store's disk failed while the server ran.
    #[error(
        "the store takes no more writes: {0}; free or repair the disk of the data directory and start the server again: \
         what was acknowledged is kept"
    )]
    Storage(StoreError),
    /// Nobody could be known by their certificate.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Requests could not be audited.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// An object that every cluster has cannot be written.
    #[error("{what} cannot be written: {status}")]
    Bootstrap {
        /// Which object.
        what: String,
        /// Why.
        status: Status,
    },
}

/// A running API server.
pub struct ApiServer {
    config: Config,
    catalog: RwLock<Arc<Catalog>>,
    registry: Registry,
    authorizer: Authorizer,
    allocator: Allocator,
    flow_control: FlowControl,
    metrics: Metrics,
    webhooks: Webhooks,
    hooks: Hooks,
    policies: Policies,
    quota_turns: Turns,
    aggregator: Aggregator,
    audit: Audit,
    certificates: ClientCertificates,
    stop: CancellationToken,
}

impl ApiServer {
    /// Fills the caches from the store, writes what every cluster has, and is ready.
    pub async fn start(config: Config) -> Result<Arc<Self>, ApiError> {
        let audit_metrics = AuditMetrics::default();
        let audit = Audit::open(&config.audit, &audit_metrics)?;
        let catalog = Catalog::builtin();
        let authorizer = Authorizer::new();
        let allocator = Allocator::new(config.service_cidr, config.node_port_range.clone());
        let flow_control = FlowControl::new(config.requests_in_flight);
        let observers = vec![authorizer.observer(), allocator.observer(), flow_control.observer()];
        let hub = Arc::new(Hub::new(&catalog, observers));
        let stop = CancellationToken::new();
        hub.run(config.store.clone(), stop.clone()).await?;
        let webhooks = Webhooks::new(hub.clone());
        let registry = Registry::new(config.store.clone(), hub);
        let metrics = Metrics::new(registry.metrics(), flow_control.metrics(), &audit_metrics);
        flow_control.run(stop.clone());
        let catalog = RwLock::new(Arc::new(catalog));
        let certificates = ClientCertificates::of(&config.ca_pem)?;
        let server = Arc::new(Self {
            config,
            catalog,
            registry,
            authorizer,
            allocator,
            flow_control,
            metrics,
            certificates,
            webhooks,
            hooks: Hooks::default(),
            policies: Policies::default(),
            quota_turns: Turns::default(),
            aggregator: Aggregator::default(),
            audit,
            stop,
        });
        tokio::task::spawn_blocking(crate::webhook::read_system_roots);
        crate::bootstrap::run(&server).await?;
        crate::custom::start(&server)
            .await
            .map_err(|status| ApiError::Bootstrap { what: "status of CustomResourceDefinitions".into(), status })?;
        crate::allocation::keep_addresses(&server);
        crate::aggregator::keep(&server);
        TypeChecker::start(&server);
        Ok(server)
    }

    /// A client for a component of this process: requests take the same path as any other, as `user`.
    pub fn client(self: &Arc<Self>, user: UserInfo) -> kube::Client {
        let server = self.clone();
        let agent = http::HeaderValue::from_static(agent(&user.name));
        let identity = Identity(Arc::new(user));
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (server, identity, agent) = (server.clone(), identity.clone(), agent.clone());
            async move {
                let (mut parts, body) = request.into_parts();
                parts.extensions.insert(identity);
                parts.headers.entry(http::header::USER_AGENT).or_insert(agent);
                let body: Body =
                    http_body_util::BodyExt::boxed_unsync(http_body_util::BodyExt::map_err(body, BoxError::from));
                let response: Response<Body> = server.handle(Request::from_parts(parts, body)).await;
                Ok::<_, BoxError>(response)
            }
        });
        kube::Client::new(service, "default")
    }

    /// Ends every watch and background task. Listeners end by the token given to [`ApiServer::serve`].
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until the server is stopped; the error says why if it stopped by itself.
    pub async fn ended(&self) -> Result<(), ApiError> {
        self.stop.cancelled().await;
        self.registry.hub().failure().map_or(Ok(()), |error| Err(ApiError::Storage(error.clone())))
    }

    /// Cancelled when the server is being stopped.
    pub(crate) fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Whether the server is being stopped.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// What is served now.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves something else from now on.
    pub(crate) fn publish(&self, catalog: Catalog) {
        *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalog);
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn authorizer(&self) -> &Authorizer {
        &self.authorizer
    }

    pub(crate) fn certificates(&self) -> &ClientCertificates {
        &self.certificates
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn flow_control(&self) -> &FlowControl {
        &self.flow_control
    }

    pub(crate) fn allocator(&self) -> &Allocator {
        &self.allocator
    }
    pub(crate) fn webhooks(&self) -> &Webhooks {
        &self.webhooks
    }

    pub(crate) fn policies(&self) -> &Policies {
        &self.policies
    }

    pub(crate) fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    pub(crate) fn quota_turns(&self) -> &Turns {
        &self.quota_turns
    }

    pub(crate) fn aggregator(&self) -> &Aggregator {
        &self.aggregator
    }

    pub(crate) fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Waits until what was left to be written into the audit log is written, at the end of the process.
    pub async fn flush_audit(&self) {
        self.audit.flush().await;
    }
}

/// What a component of this process says it is: its fields are owned by that name.
fn agent(user: &str) -> &'static str {
    match user {
        "system:kube-scheduler" => "kube-scheduler",
        "system:kube-controller-manager" => "kube-controller-manager",
        user if user.starts_with("system:serviceaccount:kube-system:") => "kube-controller-manager",
        _ => "orlop",
    }
}
