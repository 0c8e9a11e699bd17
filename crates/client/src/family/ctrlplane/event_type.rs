//! Types of a ctrlplane's events.

pub const INSTANCE_CREATED: &str = "instance.created";
pub const INSTANCE_STARTED: &str = "instance.started";
pub const INSTANCE_STOPPED: &str = "instance.stopped";
pub const INSTANCE_FAILED: &str = "instance.failed";
pub const INSTANCE_DELETED: &str = "instance.deleted";
pub const INSTANCE_SCALED: &str = "instance.scaled";
pub const INSTANCE_SUSPENDED: &str = "instance.suspended";
pub const INSTANCE_UNSUSPENDED: &str = "instance.unsuspended";
pub const DEPLOY_STARTED: &str = "deploy.started";
pub const DEPLOY_SUCCEEDED: &str = "deploy.succeeded";
pub const DEPLOY_FAILED: &str = "deploy.failed";
pub const DEPLOY_ROLLED_BACK: &str = "deploy.rolled_back";
pub const HEALTH_PASSED: &str = "health.passed";
pub const HEALTH_FAILED: &str = "health.failed";
pub const HEALTH_DEGRADED: &str = "health.degraded";
pub const HEALTH_RECOVERED: &str = "health.recovered";
pub const WORKLOAD_CREATED: &str = "workload.created";
pub const WORKLOAD_UPDATED: &str = "workload.updated";
pub const WORKLOAD_SCALED: &str = "workload.scaled";
pub const WORKLOAD_DEPLOYED: &str = "workload.deployed";
pub const WORKLOAD_PAUSED: &str = "workload.paused";
pub const WORKLOAD_RESUMED: &str = "workload.resumed";
pub const WORKLOAD_RESTARTED: &str = "workload.restarted";
pub const WORKLOAD_DELETED: &str = "workload.deleted";
pub const WORKLOAD_FAILED: &str = "workload.failed";
pub const TEMPLATE_CREATED: &str = "template.created";
pub const TEMPLATE_UPDATED: &str = "template.updated";
pub const TEMPLATE_DELETED: &str = "template.deleted";
pub const DOMAIN_ADDED: &str = "domain.added";
pub const DOMAIN_VERIFIED: &str = "domain.verified";
pub const DOMAIN_REMOVED: &str = "domain.removed";
pub const CERT_PROVISIONED: &str = "cert.provisioned";
pub const CERT_EXPIRING: &str = "cert.expiring";
pub const TENANT_CREATED: &str = "tenant.created";
pub const TENANT_SUSPENDED: &str = "tenant.suspended";
pub const TENANT_DELETED: &str = "tenant.deleted";
pub const QUOTA_EXCEEDED: &str = "quota.exceeded";
pub const DATACENTER_CREATED: &str = "datacenter.created";
pub const DATACENTER_UPDATED: &str = "datacenter.updated";
pub const DATACENTER_DELETED: &str = "datacenter.deleted";
pub const DATACENTER_STATUS_CHANGED: &str = "datacenter.status_changed";
pub const ROUTE_ADDED: &str = "route.added";
pub const ROUTE_UPDATED: &str = "route.updated";
pub const ROUTE_REMOVED: &str = "route.removed";

/// All of them.
pub const ALL: [&str; 44] = [
    INSTANCE_CREATED,
    INSTANCE_STARTED,
    INSTANCE_STOPPED,
    INSTANCE_FAILED,
    INSTANCE_DELETED,
    INSTANCE_SCALED,
    INSTANCE_SUSPENDED,
    INSTANCE_UNSUSPENDED,
    DEPLOY_STARTED,
    DEPLOY_SUCCEEDED,
    DEPLOY_FAILED,
    DEPLOY_ROLLED_BACK,
    HEALTH_PASSED,
    HEALTH_FAILED,
    HEALTH_DEGRADED,
    HEALTH_RECOVERED,
    WORKLOAD_CREATED,
    WORKLOAD_UPDATED,
    WORKLOAD_SCALED,
    WORKLOAD_DEPLOYED,
    WORKLOAD_PAUSED,
    WORKLOAD_RESUMED,
    WORKLOAD_RESTARTED,
    WORKLOAD_DELETED,
    WORKLOAD_FAILED,
    TEMPLATE_CREATED,
    TEMPLATE_UPDATED,
    TEMPLATE_DELETED,
    DOMAIN_ADDED,
    DOMAIN_VERIFIED,
    DOMAIN_REMOVED,
    CERT_PROVISIONED,
    CERT_EXPIRING,
    TENANT_CREATED,
    TENANT_SUSPENDED,
    TENANT_DELETED,
    QUOTA_EXCEEDED,
    DATACENTER_CREATED,
    DATACENTER_UPDATED,
    DATACENTER_DELETED,
    DATACENTER_STATUS_CHANGED,
    ROUTE_ADDED,
    ROUTE_UPDATED,
    ROUTE_REMOVED,
];
