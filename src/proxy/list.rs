//! A narrowed list on its way to the client: what may not be seen is dropped, and its position is issued to the guard
//! before the last byte goes out.

use std::sync::Arc;

use bytes::Bytes;
use bytes::BytesMut;
use http_body::Frame;
use http_body_util::BodyExt;
use http_body_util::StreamBody;

use super::positions::Holder;
use super::positions::Positions;
use super::reject::BadAnswer;
use super::reject::Reject;
use crate::body::Body;
use crate::body::BoxError;
use crate::body::full;
use crate::filter;
use crate::filter::ListFilter;
use crate::filter::Seen;
use crate::tenancy::Presence;

/// How much of an answer is read in search of its resourceVersion before its head goes out. Built-in kinds carry it
/// in the first hundred bytes.
const PREFACE_BYTES: usize = 256 * 1024;

/// A list that is no longer than this goes out whole, head and body in one piece: three writes fewer, a third of the
/// hop's time for ten namespaces.
const SMALL_BYTES: usize = 32 * 1024;

/// A narrowed list of which nothing has gone to the client yet.
pub(super) struct NarrowedList {
    body: Body,
    state: State,
    out: BytesMut,
}

/// How far the list is read.
enum State {
    Reading(ListFilter),
    Read(Seen),
    /// It cannot be read, and is cut off where it stands: never a short list that looks whole.
    Broken,
}

impl NarrowedList {
    /// Starts reading `body`, until the list's resourceVersion is known or [`PREFACE_BYTES`] are read, and until it is
    /// known whether it is small.
    ///
    /// `None`: more would have to be held than `filter` may.
    ///
    /// # Errors
    /// [`Reject::Answer`] if it is no list of the expected form, [`Reject::Lost`] if it breaks off.
    pub(super) async fn open(body: Body, filter: ListFilter) -> Result<Option<Self>, Reject> {
        let mut list = Self {
            body,
            state: State::Reading(filter),
            out: BytesMut::new(),
        };
        while list.is_reading() && list.out.len() < list.preface() {
            let read = match list.body.frame().await {
                Some(Ok(frame)) => list.feed(&frame),
                Some(Err(cause)) => return Err(Reject::Lost(cause)),
                None => list.finish(),
            };
            match read {
                Ok(()) => {}
                Err(filter::Broken::Held(_)) => return Ok(None),
                Err(_broken) => return Err(Reject::Answer(BadAnswer::Malformed)),
            }
        }
        Ok(Some(list))
    }

    /// The list's resourceVersion, if it is known by now.
    pub(super) fn resource_version(&self) -> Option<&str> {
        match &self.state {
            State::Reading(filter) => filter.resource_version(),
            State::Read(seen) => seen.resource_version.as_deref(),
            State::Broken => None,
        }
    }

    /// How much is to be read before anything goes out.
    fn preface(&self) -> usize {
        match self.resource_version() {
            Some(_) => SMALL_BYTES,
            None => PREFACE_BYTES,
        }
    }

    fn is_reading(&self) -> bool {
        matches!(self.state, State::Reading(_))
    }

    /// The rest as a body. When all of it is read, and before its last byte goes out, the position is issued.
    pub(super) fn into_body(
        self,
        positions: Arc<Positions>,
        holder: Holder,
        presence: Presence,
    ) -> Body {
        if let State::Read(seen) = &self.state {
            positions.on_list(&holder, seen, presence.scope().generation);
            return full(self.out.freeze());
        }
        let chunks = futures_util::stream::try_unfold(Some(self), move |list| {
            let (positions, holder, presence) =
                (Arc::clone(&positions), holder.clone(), presence.clone());
            async move {
                let Some(mut list) = list else {
                    return Ok(None);
                };
                let chunk = list.next().await?;
                let rest = match &list.state {
                    State::Reading(_) => Some(list),
                    State::Read(seen) => {
                        positions.on_list(&holder, seen, presence.scope().generation);
                        None
                    }
                    State::Broken => None,
                };
                Ok::<_, BoxError>(Some((Frame::data(chunk), rest)))
            }
        });
        Body::new(StreamBody::new(chunks))
    }

    /// The next bytes to send. What was read last stays back until more is read or all of it is: a client that holds
    /// every byte of a list may watch from its position at once.
    async fn next(&mut self) -> Result<Bytes, BoxError> {
        loop {
            let mut held = self.out.split();
            if !self.is_reading() {
                return Ok(held.freeze());
            }
            match self.body.frame().await.transpose()? {
                Some(frame) => {
                    self.feed(&frame)?;
                    if !held.is_empty() {
                        return Ok(held.freeze());
                    }
                }
                None => {
                    self.finish()?;
                    held.extend_from_slice(&self.out.split());
                    return Ok(held.freeze());
                }
            }
        }
    }

    fn feed(&mut self, frame: &Frame<Bytes>) -> Result<(), filter::Broken> {
        match (&mut self.state, frame.data_ref()) {
            (State::Reading(filter), Some(data)) => filter.push(data, &mut self.out),
            (State::Reading(_) | State::Read(_) | State::Broken, _) => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<(), filter::Broken> {
        self.state = match std::mem::replace(&mut self.state, State::Broken) {
            State::Reading(filter) => State::Read(filter.finish(&mut self.out)?),
            read @ (State::Read(_) | State::Broken) => read,
        };
        Ok(())
    }
}
