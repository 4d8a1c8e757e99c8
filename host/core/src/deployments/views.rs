//! Deployments as their owners, colleagues and administrators see them.

use super::{CreatedBy, Deployment, DeploymentError, Deployments, Owner, Page, Resource};
use crate::Error;
use crate::identity::{Permission, Person, Principal, Role, Scheme};
use ostler_store::DeploymentFilter;
use serde_json::Value;

impl Deployments {
    /// A page of deployments and how many there are in all.
    pub async fn list(
        &self,
        who: &Principal,
        by: Option<&CreatedBy>,
        user_group: Option<&str>,
        page: &Page,
    ) -> Result<(Vec<Deployment>, u64), Error> {
        who.require(Permission::UseDeployments)?;
        let filter = self.listed(who, by).map_err(DeploymentError::OnlyAdministrators)?;
        let filter = DeploymentFilter { user_group: user_group.map(str::to_owned), ..filter };
        Ok(self.0.store.deployments(&filter, page).await?)
    }

    /// What somebody's list of what has owners consists of. An error names whose it would be, where he does not reach that person.
    pub(crate) fn listed(&self, who: &Principal, by: Option<&CreatedBy>) -> Result<DeploymentFilter, String> {
        let me = self.0.person(who);
        let mine = Some((me.issuer.clone(), me.subject.clone()));
        let mut filter = DeploymentFilter::default();
        filter.issuer_subject = match by {
            Some(CreatedBy::Somebody { subject, issuer }) if mine != Some((issuer.clone(), subject.clone())) => {
                match Reach::of(who) {
                    Reach::Own => return Err(format!("{subject}@{issuer}")),
                    Reach::Organisation(person) if person.issuer != *issuer => return Err(format!("{subject}@{issuer}")),
                    Reach::Organisation(person) => filter.organisation = person.organisation.clone(),
                    Reach::All => {}
                }
                Some((issuer.clone(), subject.clone()))
            }
            Some(_) => mine,
            None => match Reach::of(who) {
                Reach::Own => mine,
                Reach::Organisation(person) => {
                    (filter.issuer, filter.organisation) = (Some(person.issuer.clone()), person.organisation.clone());
                    None
                }
                Reach::All => None,
            },
        };
        Ok(filter)
    }

    /// Whether somebody may see what this owner has.
    pub(crate) fn may_see(&self, who: &Principal, owner: Option<&Owner>) -> bool {
        let Some(owner) = owner else { return true };
        let me = self.0.person(who);
        let colleague = owner.issuer == me.issuer && me.organisation.is_some() && owner.organisation == me.organisation;
        colleague || self.may_change(who, Some(owner))
    }

    /// Whether somebody may change what this owner has.
    pub(crate) fn may_change(&self, who: &Principal, owner: Option<&Owner>) -> bool {
        let Some(owner) = owner else { return true };
        let me = self.0.person(who);
        (&owner.issuer, &owner.subject) == (&me.issuer, &me.subject) || Reach::of(who).covers(owner)
    }

    /// One that the caller may see.
    pub async fn get(&self, who: &Principal, id: &str) -> Result<Deployment, Error> {
        who.require(Permission::UseDeployments)?;
        let deployment = self.0.found(id).await?;
        let visible = self.may_see(who, deployment.owner.as_ref());
        if visible { Ok(deployment) } else { Err(DeploymentError::NotFound(id.to_owned()).into()) }
    }

    /// One that is the caller's own.
    pub async fn own(&self, who: &Principal, id: &str) -> Result<Deployment, Error> {
        let deployment = self.get(who, id).await?;
        let own = self.may_change(who, deployment.owner.as_ref());
        if own { Ok(deployment) } else { Err(DeploymentError::NotOwner.into()) }
    }

    /// What is known of the machines of one that is the caller's own: one object each.
    pub async fn machines(&self, who: &Principal, id: &str) -> Result<Vec<Value>, Error> {
        let deployment = self.own(who, id).await?;
        let resources = self.0.store.resources(&deployment.id).await?;
        Ok(resources.into_iter().filter(|resource| resource.physical_id.is_some()).map(|resource| resource.attributes).collect())
    }

    /// Its resources, of a type (and what derives from it) or all, in order.
    pub async fn resources(&self, who: &Principal, id: &str, of_type: Option<&str>) -> Result<Vec<Resource>, Error> {
        let deployment = self.get(who, id).await?;
        let mut resources = self.0.store.resources(&deployment.id).await?;
        if let Some(of_type) = of_type {
            resources.retain(|resource| resource.ancestors.iter().any(|ancestor| ancestor == of_type));
        }
        Ok(resources)
    }

    /// One of its resources.
    pub async fn resource(&self, who: &Principal, id: &str, resource: &str) -> Result<Resource, Error> {
        let deployment = self.get(who, id).await?;
        let found = self.0.store.resource_get(&deployment.id, resource).await?;
        found.ok_or_else(|| DeploymentError::NoResource { deployment: id.to_owned(), resource: resource.to_owned() }.into())
    }
}

/// Whose deployments somebody may handle besides his own.
enum Reach<'p> {
    /// Nobody's.
    Own,
    /// An issuer's supervisor: those of his organisation, or of all whom the issuer vouches for where he has none.
    Organisation(&'p Person),
    /// An administrator of this server: everybody's.
    All,
}

impl<'p> Reach<'p> {
    fn of(who: &'p Principal) -> Self {
        match &who.person {
            _ if who.scheme == Scheme::Open || who.roles.contains(&Role::Admin) => Self::All,
            Some(person) if who.roles.contains(&Role::Supervisor) => Self::Organisation(person),
            _ => Self::Own,
        }
    }

    fn covers(&self, owner: &Owner) -> bool {
        match self {
            Self::Own => false,
            Self::Organisation(person) => {
                owner.issuer == person.issuer && (person.organisation.is_none() || owner.organisation == person.organisation)
            }
            Self::All => true,
        }
    }
}
