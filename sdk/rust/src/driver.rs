//! The trait that a driver implements.

use crate::{
    Action, Capacity, Context, Description, Error, Health, Image, ImageSpec, Node, NodeSpec, Page, Result, Sample, Size,
};

/// A cloud driver. The functions are those of the contract (`wit/driver.wit`), which has the fine print.
///
/// One value serves one instance of the component: it is made at the instance's first call and kept for later ones; when
/// [`Driver::new`] fails, the call answers that error and the next call tries again. An instance may be new at any call, so
/// making a value must be cheap (read the settings, connect to nothing), and what a value remembers is a cache at best.
///
/// Functions of optional features answer `unsupported` until they are written; list the features you write in
/// [`Driver::describe`].
pub trait Driver: Sized + 'static {
    /// Reads the settings.
    ///
    /// # Errors
    /// [`Error::Invalid`] where a setting is missing or malformed.
    fn new(ctx: Context) -> Result<Self>;

    /// Who the driver is. Must not reach out, and must work with any settings, even none.
    fn describe(ctx: &Context) -> Description;

    /// Whether the configuration is complete, the provider answers and accepts the credentials. Changes nothing.
    ///
    /// # Errors
    /// What is wrong.
    fn check(&self) -> Result<Health>;

    /// The images that nodes can be made from.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a cursor that no page gave.
    fn list_images(&self, cursor: Option<&str>) -> Result<Page<Image>>;

    /// One image. The default looks through the list.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none.
    fn get_image(&self, id: &str) -> Result<Image> {
        let mut cursor = None;
        loop {
            let page = self.list_images(cursor.as_deref())?;
            if let Some(image) = page.items.into_iter().find(|image| image.id == id) {
                return Ok(image);
            }
            // A provider that names the same page again would keep us here for ever.
            if page.next.is_none() || page.next == cursor {
                return Err(Error::not_found("image", id));
            }
            cursor = page.next;
        }
    }

    /// The image that was imported with this token. Feature `image-import`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] by default.
    fn find_image(&self, token: &str) -> Result<Option<Image>> {
        let _ = token;
        Err(Error::unsupported("image-import"))
    }

    /// Starts to import an image; idempotent by token. Feature `image-import`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] by default.
    fn import_image(&self, token: &str, spec: ImageSpec) -> Result<Image> {
        let _ = (token, spec);
        Err(Error::unsupported("image-import"))
    }

    /// Deletes an image. Feature `image-delete`.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none, [`Error::Conflict`] while it is in use; [`Error::Unsupported`] by default.
    fn delete_image(&self, id: &str) -> Result<()> {
        let _ = id;
        Err(Error::unsupported("image-delete"))
    }

    /// The sizes that nodes can have.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a cursor that no page gave.
    fn list_sizes(&self, cursor: Option<&str>) -> Result<Page<Size>>;

    /// All nodes that the credentials can see, including those without a token.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a cursor that no page gave.
    fn list_nodes(&self, cursor: Option<&str>) -> Result<Page<Node>>;

    /// One node.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none.
    fn get_node(&self, id: &str) -> Result<Node>;

    /// The node that was created with this token. Must see a node from the moment the provider has accepted it.
    ///
    /// # Errors
    /// Only where the provider cannot be asked: a node that does not exist is `Ok(None)`.
    fn find_node(&self, token: &str) -> Result<Option<Node>>;

    /// Orders a node and returns at once. A second call with the same token returns the first node and makes no other.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an unknown image or size, [`Error::Quota`], [`Error::Capacity`] …
    fn create_node(&self, token: &str, spec: NodeSpec) -> Result<Node>;

    /// Destroys a node with everything that was made for it.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none.
    fn destroy_node(&self, id: &str) -> Result<()>;

    /// Starts an action and returns at once. Features `start-stop`, `reboot`, `suspend`, `action:<name>`.
    ///
    /// # Errors
    /// [`Error::Conflict`] where the present state does not allow it; [`Error::Unsupported`] by default.
    fn act(&self, id: &str, action: Action) -> Result<()> {
        let _ = (id, action);
        Err(Error::unsupported("actions"))
    }

    /// What the platform has, and the account's quotas. Feature `capacity`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] by default.
    fn get_capacity(&self) -> Result<Capacity> {
        Err(Error::unsupported("capacity"))
    }

    /// Present measurements of these nodes; of all for an empty list. Feature `samples`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] by default.
    fn get_samples(&self, node_ids: &[String]) -> Result<Vec<Sample>> {
        let _ = node_ids;
        Err(Error::unsupported("samples"))
    }
}
