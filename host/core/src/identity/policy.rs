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
}

/// All roles.
pub const ROLES: [Role; 4] = [Role::Admin, Role::Agent, Role::User, Role::Monitor];

impl Role {
    /// As the store and the configuration spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Agent => "agent",
            Self::User => "user",
            Self::Monitor => "monitor",
        }
    }

    /// The role of this name.
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
    /// Read metrics.
    ReadMetrics,
}

/// Whether this role permits it.
pub(super) fn permits(role: Role, permission: Permission) -> bool {
    use Permission::{ChangeCompute, ChangeDrivers, ReadCompute, ReadDrivers, ReadMetrics};
    let permitted: &[Permission] = match role {
        Role::Admin => &[ReadCompute, ChangeCompute, ReadDrivers, ChangeDrivers, ReadMetrics],
        Role::Agent => &[ReadCompute, ChangeCompute],
        Role::User => &[ReadCompute],
        Role::Monitor => &[ReadMetrics],
    };
    permitted.contains(&permission)
}
