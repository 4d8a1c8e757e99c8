//! Who may do what: one table, role by permission. What is not in it is denied.

/// What somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Admin,
    /// Works with nodes.
    Agent,
    /// Looks.
    User,
    /// Scrapes metrics.
    Monitor,
    /// Has services of his own, and pays for them. Whoever registers himself is one.
    Customer,
    /// Handles the deployments of all whom an issuer of tokens vouches for, or of those of his organisation. The issuer says who
    /// is one: its configuration names a group.
    Supervisor,
    /// The manager of one service. Nobody is given this role: a manager's certificate is.
    ServiceManager,
    /// Sees a whole platform and keeps its catalogue of images, from afar.
    Provider,
    /// Has the full control of what runs on a platform, and looks after its guests.
    LocalAdmin,
    /// Has instances of his own, made from the catalogue.
    Guest,
}

/// All roles that users can have.
pub const ROLES: [Role; 8] =
    [Role::Admin, Role::Agent, Role::User, Role::Monitor, Role::Customer, Role::Provider, Role::LocalAdmin, Role::Guest];

impl Role {
    /// As the store and the configuration spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Agent => "agent",
            Self::User => "user",
            Self::Monitor => "monitor",
            Self::Customer => "customer",
            Self::Supervisor => "supervisor",
            Self::ServiceManager => "service-manager",
            Self::Provider => "provider",
            Self::LocalAdmin => "local_admin",
            Self::Guest => "guest",
        }
    }

    /// The role of this name, if users can have it.
    pub fn parse(name: &str) -> Option<Self> {
        ROLES.into_iter().find(|role| role.as_str() == name)
    }
}

/// What can be permitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// See clouds, nodes, images, sizes, assignments.
    ReadCompute,
    /// Create, destroy, assign and release nodes.
    ChangeCompute,
    /// See drivers.
    ReadDrivers,
    /// Install, remove, roll back drivers.
    ChangeDrivers,
    /// Add, test and remove clouds, with what their drivers may use.
    ChangeClouds,
    /// Read metrics.
    ReadMetrics,
    /// Have applications and services of one's own, and see one's own credit.
    UseServices,
    /// Act for the service whose manager one is: pay, enrol agents, order nodes.
    ManageService,
    /// Have deployments of one's own.
    UseDeployments,
    /// See operations of several steps, whoever began them.
    ReadWork,
    /// Try them at once, turn them round, give them up.
    ChangeWork,
    /// Tell of new files, for which schedules make deployments.
    SubmitDataEvents,
    /// See users, their credit, tokens and certificates.
    ReadUsers,
    /// Add, change and disable users; grant credit; create and revoke tokens and certificates.
    ChangeUsers,
    /// See a platform's resources, and the images from which instances can be made.
    UseCatalogue,
    /// Register and delete images.
    ManageImages,
    /// Have instances and forwarding rules of one's own.
    UseInstances,
    /// See all instances and forwarding rules, whoever has them.
    SeeInstances,
    /// Change and delete them, too.
    ManageInstances,
    /// See, add, change and delete guests.
    ManageGuests,
}

/// All permissions.
pub const PERMISSIONS: [Permission; 20] = [
    Permission::ReadCompute,
    Permission::ChangeCompute,
    Permission::ReadDrivers,
    Permission::ChangeDrivers,
    Permission::ChangeClouds,
    Permission::ReadMetrics,
    Permission::UseServices,
    Permission::ManageService,
    Permission::UseDeployments,
    Permission::ReadWork,
    Permission::ChangeWork,
    Permission::SubmitDataEvents,
    Permission::ReadUsers,
    Permission::ChangeUsers,
    Permission::UseCatalogue,
    Permission::ManageImages,
    Permission::UseInstances,
    Permission::SeeInstances,
    Permission::ManageInstances,
    Permission::ManageGuests,
];

impl Permission {
    /// As a token's scopes spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadCompute => "compute.read",
            Self::ChangeCompute => "compute.change",
            Self::ReadDrivers => "drivers.read",
            Self::ChangeDrivers => "drivers.change",
            Self::ChangeClouds => "clouds.change",
            Self::ReadMetrics => "metrics.read",
            Self::UseServices => "services.use",
            Self::ManageService => "services.manage",
            Self::UseDeployments => "deployments.use",
            Self::ReadWork => "work.read",
            Self::ChangeWork => "work.change",
            Self::SubmitDataEvents => "data-events.submit",
            Self::ReadUsers => "users.read",
            Self::ChangeUsers => "users.change",
            Self::UseCatalogue => "catalogue.use",
            Self::ManageImages => "images.manage",
            Self::UseInstances => "instances.use",
            Self::SeeInstances => "instances.see",
            Self::ManageInstances => "instances.manage",
            Self::ManageGuests => "guests.manage",
        }
    }

    /// The permission of this name.
    pub fn parse(name: &str) -> Option<Self> {
        PERMISSIONS.into_iter().find(|permission| permission.as_str() == name)
    }
}

/// Whether this role permits it.
pub(super) fn permits(role: Role, permission: Permission) -> bool {
    use Permission::{
        ChangeClouds, ChangeCompute, ChangeDrivers, ChangeUsers, ChangeWork, ManageGuests, ManageImages, ManageInstances,
        ManageService, ReadCompute, ReadDrivers, ReadMetrics, ReadUsers, ReadWork, SeeInstances, SubmitDataEvents, UseCatalogue,
        UseDeployments, UseInstances, UseServices,
    };
    let permitted: &[Permission] = match role {
        Role::Admin => &[
            ReadCompute,
            ChangeCompute,
            ReadDrivers,
            ChangeDrivers,
            ChangeClouds,
            ReadMetrics,
            UseServices,
            UseDeployments,
            ReadWork,
            ChangeWork,
            SubmitDataEvents,
            ReadUsers,
            ChangeUsers,
            UseCatalogue,
            ManageImages,
            UseInstances,
            SeeInstances,
            ManageInstances,
            ManageGuests,
        ],
        Role::Agent => &[ReadCompute, ChangeCompute, UseServices, UseDeployments, UseCatalogue, UseInstances],
        Role::User => &[ReadCompute],
        Role::Monitor => &[ReadMetrics],
        Role::Customer => &[UseServices, UseDeployments],
        Role::Supervisor => &[UseDeployments],
        Role::ServiceManager => &[ManageService],
        Role::Provider => &[UseCatalogue, ManageImages, SeeInstances],
        Role::LocalAdmin => &[UseCatalogue, ManageImages, UseInstances, SeeInstances, ManageInstances, ManageGuests],
        Role::Guest => &[UseCatalogue, UseInstances],
    };
    permitted.contains(&permission)
}
