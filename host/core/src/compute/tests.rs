//! Tests come with the component.
