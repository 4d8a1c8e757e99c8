//! JSON of news about data.

use ostler_core::schedules as core;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A message about data. Members that it does not name are not looked at.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DataEvent {
    /// What happened. `did_registered` is a new file; everything else is ignored.
    pub event_type: String,
    /// The scope of the file: 1 to 255 bytes.
    #[serde(default)]
    pub scope: Option<String>,
    /// Its name within the scope: 1 to 1,024 bytes.
    #[serde(default)]
    pub name: Option<String>,
}

/// Several messages.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DataEventBatch {
    /// In order; at most 500.
    pub messages: Vec<DataEvent>,
}

/// One message, or several.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum DataEvents {
    /// One.
    One(DataEvent),
    /// Several.
    Several(DataEventBatch),
}

/// What a body says, of either form.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Value")]
pub(in crate::api::native) struct Messages(pub(in crate::api::native) Vec<DataEvent>);

impl TryFrom<Value> for Messages {
    type Error = serde_json::Error;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        if value.get("messages").is_some() {
            return DataEventBatch::deserialize(value).map(|batch| Self(batch.messages));
        }
        DataEvent::deserialize(value).map(|message| Self(vec![message]))
    }
}

/// What came of messages.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Intake {
    /// How many told of new files.
    pub files: usize,
    /// How many told of something else.
    pub ignored: usize,
    /// How many deployments will be made because of them. Files that were told of before make none.
    pub events: usize,
}

impl From<DataEvent> for core::DataMessage {
    fn from(event: DataEvent) -> Self {
        Self { event_type: event.event_type, scope: event.scope, name: event.name }
    }
}

impl From<core::Intake> for Intake {
    fn from(intake: core::Intake) -> Self {
        Self { files: intake.files, ignored: intake.ignored, events: intake.events }
    }
}
