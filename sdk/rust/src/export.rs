//! From the component's exports to the [`Driver`] trait.

use std::{any::Any, cell::RefCell, marker::PhantomData, rc::Rc};

use crate::bindings::exports::ostler::driver::driver::Guest;
use crate::bindings::ostler::driver::types as wit;
use crate::{Context, Driver};

thread_local! {
    /// The driver of this instance, once it could be made.
    static DRIVER: RefCell<Option<Rc<dyn Any>>> = const { RefCell::new(None) };
}

/// The exports of a component, answered by `D`. Named by `export_driver!` only.
#[derive(Debug)]
pub struct Export<D>(PhantomData<D>);

/// Answers one call.
fn call<D: Driver, T>(answer: impl FnOnce(&D) -> crate::Result<T>) -> Result<T, wit::Error> {
    let kept = DRIVER.with_borrow(Clone::clone).and_then(|any| any.downcast::<D>().ok());
    let driver = match kept {
        Some(driver) => driver,
        None => {
            let driver = Rc::new(D::new(Context::current())?);
            DRIVER.set(Some(Rc::clone(&driver) as Rc<dyn Any>));
            driver
        }
    };
    Ok(answer(&driver)?)
}

impl<D: Driver> Guest for Export<D> {
    fn describe() -> wit::Description {
        D::describe(&Context::current())
    }

    fn check() -> Result<wit::Health, wit::Error> {
        call(D::check)
    }

    fn list_images(cursor: Option<String>) -> Result<wit::ImagePage, wit::Error> {
        call(|driver: &D| Ok(driver.list_images(cursor.as_deref())?.into()))
    }

    fn get_image(id: String) -> Result<wit::Image, wit::Error> {
        call(|driver: &D| driver.get_image(&id))
    }

    fn find_image(token: String) -> Result<Option<wit::Image>, wit::Error> {
        call(|driver: &D| driver.find_image(&token))
    }

    fn import_image(token: String, spec: wit::ImageSpec) -> Result<wit::Image, wit::Error> {
        call(|driver: &D| driver.import_image(&token, spec))
    }

    fn delete_image(id: String) -> Result<(), wit::Error> {
        call(|driver: &D| driver.delete_image(&id))
    }

    fn list_sizes(cursor: Option<String>) -> Result<wit::SizePage, wit::Error> {
        call(|driver: &D| Ok(driver.list_sizes(cursor.as_deref())?.into()))
    }

    fn list_nodes(cursor: Option<String>) -> Result<wit::NodePage, wit::Error> {
        call(|driver: &D| Ok(driver.list_nodes(cursor.as_deref())?.into()))
    }

    fn get_node(id: String) -> Result<wit::Node, wit::Error> {
        call(|driver: &D| driver.get_node(&id))
    }

    fn find_node(token: String) -> Result<Option<wit::Node>, wit::Error> {
        call(|driver: &D| driver.find_node(&token))
    }

    fn create_node(token: String, spec: wit::NodeSpec) -> Result<wit::Node, wit::Error> {
        call(|driver: &D| driver.create_node(&token, spec))
    }

    fn destroy_node(id: String) -> Result<(), wit::Error> {
        call(|driver: &D| driver.destroy_node(&id))
    }

    fn act(id: String, action: wit::Action) -> Result<(), wit::Error> {
        call(|driver: &D| driver.act(&id, action))
    }

    fn get_capacity() -> Result<wit::Capacity, wit::Error> {
        call(D::get_capacity)
    }

    fn get_samples(node_ids: Vec<String>) -> Result<Vec<wit::Sample>, wit::Error> {
        call(|driver: &D| driver.get_samples(&node_ids))
    }
}
