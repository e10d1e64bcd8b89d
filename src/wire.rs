//! Byte-range scanners over what the API server sends: JSON and protobuf documents, watch frames.
//! They find where things are and never re-encode them; they know no user and no rule.

pub mod event;
pub mod frames;
pub mod json;
pub mod labels;
pub mod object;
pub mod protobuf;
pub mod table;

/// How documents are laid out, as far as finding the objects in them depends on it.
///
/// `PartialObjectMetadata` needs no layout of its own: its metadata lies where every object has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// JSON; an object's name is its `metadata.name`.
    Json,
    /// JSON; a `Table`, where a row's object is `rows[].object`.
    Table,
    /// Kubernetes' protobuf envelope around an object.
    Protobuf,
}

/// Why bytes of the API server could not be read. Nothing that follows in the same stream can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A byte that JSON does not allow there.
    #[error("not JSON: {0}")]
    Json(&'static str),
    /// A tag, length or wire type that protobuf or Kubernetes' use of it does not allow there.
    #[error("not Kubernetes protobuf: {0}")]
    Protobuf(&'static str),
    /// Readers disagree on which of two members counts, so neither does.
    #[error("`{0}` occurs twice")]
    Twice(&'static str),
    /// The document stops in its middle.
    #[error("the document ends too early")]
    Short,
    /// More than we are willing to hold.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// Of what there was too much.
        what: &'static str,
        /// How much would have been held.
        limit: usize,
    },
    /// Something well-formed that is not what was asked for.
    #[error("not a {0}")]
    Not(&'static str),
}
