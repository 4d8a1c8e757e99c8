//! Has the server die at a place of its own choosing, between one step of a durable operation and the next.

use crate::Server;
use crate::director::Director;

/// The variable that names the place.
const VARIABLE: &str = "OSTLER_KILL_AT";

/// Starts the server anew, so that it dies when it comes to this place; does something that brings it there, waits for the end
/// and starts it again. `then` is the place at which it dies once more on its way up, if it comes there.
///
/// Panics where it does not die: then the place is none on this way.
pub async fn at<T>(server: &mut Server, point: &str, then: Option<&str>, action: impl AsyncFnOnce(Director) -> T) {
    server.kill();
    server.set_env(VARIABLE, Some(point));
    server.start().await;
    // What it answers before it dies does not matter.
    action(Director::of(server)).await;
    let status = server.ended().await;
    assert!(!status.success(), "{point}: it ended by itself");
    if let Some(then) = then {
        server.set_env(VARIABLE, Some(then));
        server.start_and_die().await;
    }
    server.set_env(VARIABLE, None);
    server.start().await;
}
