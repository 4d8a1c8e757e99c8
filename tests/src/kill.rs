//! Has the server die at a place of its own choosing, between one step of a durable operation and the next.

use crate::Server;
use crate::director::Director;

/// The variables that name a place in the program, and a step of an operation with what happens there.
const PLACE: &str = "OSTLER_KILL_AT";
const FAULT: &str = "OSTLER_FAULT";

/// Starts the server anew, so that it dies when it comes to this place; does something that brings it there, waits for the end
/// and starts it again. `then` is the place at which it dies once more on its way up, if it comes there.
///
/// Panics where it does not die: then the place is none on this way.
pub async fn at<T>(server: &mut Server, point: &str, then: Option<&str>, action: impl AsyncFnOnce(Director) -> T) {
    die(server, PLACE, point, then, action).await;
}

/// The same at a step of an operation, as in `start-service.make-node.act:crash-after`.
pub async fn at_fault<T>(server: &mut Server, point: &str, then: Option<&str>, action: impl AsyncFnOnce(Director) -> T) {
    die(server, FAULT, point, then, action).await;
}

async fn die<T>(server: &mut Server, variable: &str, point: &str, then: Option<&str>, action: impl AsyncFnOnce(Director) -> T) {
    server.kill();
    server.set_env(variable, Some(point));
    server.start().await;
    // What it answers before it dies does not matter.
    action(Director::of(server)).await;
    let status = server.ended().await;
    assert!(!status.success(), "{point}: it ended by itself");
    if let Some(then) = then {
        server.set_env(variable, Some(then));
        server.start_and_die().await;
    }
    server.set_env(variable, None);
    server.start().await;
}
