//! Applications: in which users keep their services.

use super::start::Begun;
use super::{Order, Services, event};
use crate::Error;
use crate::compute::Key;
use crate::identity::{Permission, Principal, digest};
use ostler_store::{Application, KeyedRequest, Service, ServiceKind};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// What a user's first application is called.
pub(crate) const FIRST: &str = "New Application";
/// Characters of the longest name.
const LONGEST: usize = 256;

pub(super) fn check_name(name: &str) -> Result<(), Error> {
    if name.is_empty() || name.chars().count() > LONGEST || name.chars().any(char::is_control) {
        return Err(Error::Invalid(format!("a name has 1 to {LONGEST} characters and no control characters")));
    }
    Ok(())
}

impl Services {
    /// The applications of whoever asks, the oldest first.
    pub async fn applications(&self, who: &Principal) -> Result<Vec<Application>, Error> {
        who.require(Permission::UseServices)?;
        Ok(self.store.applications(&who.account()?.id).await?)
    }

    /// One application of whoever asks; without a number, his first.
    pub async fn application(&self, who: &Principal, id: Option<i64>) -> Result<Application, Error> {
        let found = self.applications(who).await?.into_iter().find(|application| id.is_none_or(|id| application.id == id));
        found.ok_or(Error::NoApplication)
    }

    /// A new application. Names are unique for each user.
    ///
    /// With a key, and with what it stands for, a second call returns what the first one made: [`Error::KeyReused`] if it asks for
    /// something else, [`Error::NoApplication`] if that is gone.
    pub async fn create_application(&self, who: &Principal, name: &str, key: Option<(Key, &str)>) -> Result<Application, Error> {
        who.require(Permission::UseServices)?;
        check_name(name)?;
        let account = &who.account()?.id;
        let Some((key, of)) = key else { return named(self.store.application_create(account, name).await) };
        let request = KeyedRequest { scope: key.scope.to_owned(), key: key.key, input_hash: digest([Some(of)]) };
        match self.store.application_request(account, name, &request).await {
            Err(ostler_store::Error::IdempotencyMismatch) => Err(Error::KeyReused),
            Err(ostler_store::Error::NotFound("the application")) => Err(Error::NoApplication),
            other => Ok(named(other)?.0),
        }
    }

    /// Gives an application another name.
    pub async fn rename_application(&self, who: &Principal, id: i64, name: &str) -> Result<(), Error> {
        who.require(Permission::UseServices)?;
        check_name(name)?;
        if named(self.store.application_rename(&who.account()?.id, id, name).await)? { Ok(()) } else { Err(Error::NoApplication) }
    }

    /// Stops all services of an application and deletes it. What could not be stopped keeps it, and the same call goes on.
    pub async fn delete_application(self: &Arc<Self>, who: &Principal, id: i64) -> Result<(), Error> {
        let application = self.application(who, Some(id)).await?;
        for service in self.list(who, Some(id)).await? {
            if service.kind != ServiceKind::Member {
                match self.stop(who, service.id).await {
                    Ok(()) | Err(Error::NoService) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        match self.store.application_delete(&who.account()?.id, application.id).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::NoApplication),
            Err(ostler_store::Error::Referenced(_)) => Err(Error::Busy("a service of the application is being started")),
            Err(error) => Err(error.into()),
        }
    }

    /// The manager of an application as a whole, if it has one.
    pub async fn application_manager(&self, who: &Principal, id: i64) -> Result<Option<Service>, Error> {
        let application = self.application(who, Some(id)).await?;
        Ok(self.store.service_manager_of(application.id).await?)
    }

    /// The managers of whoever asks for whole applications, those that are being started included.
    pub async fn managers(&self, who: &Principal) -> Result<Vec<Service>, Error> {
        who.require(Permission::UseServices)?;
        let services = self.store.services(&who.account()?.id, None).await?;
        Ok(services.into_iter().filter(|service| service.kind == ServiceKind::Manager).collect())
    }

    /// Begins to start the manager of an application as a whole. What can be refused is refused at once; how it goes on is to be
    /// seen from the application.
    pub async fn begin_application(
        self: &Arc<Self>,
        who: &Principal,
        id: i64,
        cloud: Option<&str>,
        key: Option<Key>,
    ) -> Result<(), Error> {
        let order = Order {
            kind: ServiceKind::Manager,
            type_name: String::new(),
            application: Some(id),
            cloud: cloud.map(str::to_owned),
        };
        match self.begin(who, order, key).await? {
            Begun::Before(operation) => self.replay(who, &operation).await.map(drop),
            Begun::Now { operation, .. } => {
                let this = Arc::clone(self);
                self.compute.tasks().spawn(async move {
                    if let Err(error) = this.carry_out(&operation, this.settings.start_timeout + super::UNDOING).await {
                        tracing::warn!(%error, "the manager of an application could not be started");
                    }
                });
                Ok(())
            }
        }
    }

    /// Starts services in an application that was made for them, each under its name. Where one fails, all are stopped and the
    /// application is deleted. It goes on to its end, even when nobody waits for it any more.
    ///
    /// With a key, a second call goes on where the first one was interrupted: each service has a key of its own, made of this one.
    pub fn start_all(
        self: &Arc<Self>,
        who: Principal,
        application: i64,
        orders: Vec<(Order, Option<String>)>,
        key: Option<Key>,
    ) -> JoinHandle<Result<(), Error>> {
        let this = Arc::clone(self);
        self.compute.tasks().spawn(async move {
            for (number, (order, name)) in orders.into_iter().enumerate() {
                let key = key.as_ref().map(|key| Key { scope: key.scope, key: format!("{}/{number}", key.key) });
                let again = key.is_some();
                match this.start_named(&who, order, name, key).await {
                    Ok(()) => {}
                    // Whoever comes with the key again goes on from here.
                    Err(error @ (Error::UnderWay | Error::Stopping)) if again => return Err(error),
                    Err(error) => {
                        tracing::warn!(application, %error, "an application could not be made of its manifest, and is removed");
                        this.delete_application(&who, application).await?;
                        return Err(error);
                    }
                }
            }
            Ok(())
        })
    }

    async fn start_named(
        self: &Arc<Self>,
        who: &Principal,
        order: Order,
        name: Option<String>,
        key: Option<Key>,
    ) -> Result<(), Error> {
        let (again, made) = (key.is_some(), format!("New {} service", order.type_name));
        match self.start(who, order, key).await {
            // Whoever has given it another name since keeps that.
            Ok(service) if service.name == made => match name {
                Some(name) => self.rename(who, service.id, &name).await,
                None => Ok(()),
            },
            Ok(_) => Ok(()),
            // It was started then, and stopped since.
            Err(Error::NoService) if again => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Gives one of an application's services another name.
    pub async fn rename_member(&self, who: &Principal, application: i64, number: i64, name: &str) -> Result<(), Error> {
        let members = self.list(who, Some(application)).await?;
        let member =
            members.iter().find(|s| s.kind == ServiceKind::Member && s.number == Some(number)).ok_or(Error::NoService)?;
        self.rename(who, member.id, name).await
    }

    /// Stops the manager of an application, and all nodes with it.
    pub async fn stop_application(self: &Arc<Self>, who: &Principal, id: i64) -> Result<(), Error> {
        match self.application_manager(who, id).await? {
            Some(manager) => self.stop(who, manager.id).await,
            None => Err(Error::NoService),
        }
    }

    /// Asks an application's manager for a service of this type, and notes it.
    pub async fn add_member(self: &Arc<Self>, who: &Principal, application: i64, type_name: &str) -> Result<Service, Error> {
        if !self.settings.catalogue.contains_key(type_name) {
            return Err(Error::NoServiceType(type_name.to_owned()));
        }
        let manager = self.application_manager(who, application).await?.ok_or(Error::NoService)?;
        let number = self.ask_manager(&manager, "add_service", &serde_json::json!({ "service_type": type_name })).await?;
        let number = number["service_id"].as_i64().ok_or_else(|| Error::NoManager("it gave the service no number".into()))?;
        let new = ostler_store::NewService {
            application_id: application,
            user_id: manager.user_id.clone(),
            kind: ServiceKind::Member,
            type_name: type_name.to_owned(),
            name: format!("New {type_name} service"),
            cloud: manager.cloud.clone(),
            number: Some(number),
        };
        let event = event("service.member.added", "", &manager.cloud, &who.user);
        Ok(self.store.service_member_add(&new, &event).await?)
    }

    /// Asks an application's manager to remove one of its services, and forgets it.
    pub async fn remove_member(self: &Arc<Self>, who: &Principal, application: i64, number: i64) -> Result<(), Error> {
        let manager = self.application_manager(who, application).await?.ok_or(Error::NoService)?;
        let members = self.list(who, Some(application)).await?;
        let member =
            members.iter().find(|s| s.kind == ServiceKind::Member && s.number == Some(number)).ok_or(Error::NoService)?;
        self.ask_manager(&manager, "remove_service", &serde_json::json!({ "service_id": number })).await?;
        let event = event("service.member.removed", &member.id.to_string(), &manager.cloud, &who.user);
        self.store.service_member_remove(&member.user_id, member.id, &event).await?;
        Ok(())
    }
}

fn named<T>(result: Result<T, ostler_store::Error>) -> Result<T, Error> {
    match result {
        Err(ostler_store::Error::Exists(_)) => Err(Error::Taken("an application with this name")),
        other => Ok(other?),
    }
}
