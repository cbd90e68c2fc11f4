//! How much is worked on at once. What finds no place in time is told to come again.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use http::Request;
use http_body::Body as _;
use readvault_ops::{Fault, FaultKind};
use readvault_store::usage::Usage;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests worked on at once by default, until the last byte of their answer has gone. Those that wait are not
/// in the runtime's queue, behind which health would have to wait as well.
pub const REQUESTS_MAX: usize = 512;

/// Requests with a large body worked on at once by default: each may hold a chunk that is not whole yet.
pub const UPLOADS_MAX: usize = 128;

/// Bytes of a body from which a request counts as an upload; a body of unknown length does, too.
const UPLOAD_BYTES_MIN: u64 = 64 << 10;

/// Time for which a request waits for its place, by default.
pub const WAIT_MAX: Duration = Duration::from_secs(10);

/// What a request lays on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// It has a large body, or one of unknown length.
    Upload,
    /// Anything else.
    Light,
}

impl Load {
    /// The load of `request`, by the length of its body.
    #[must_use]
    pub fn of(request: &Request<Body>) -> Self {
        match request.body().size_hint().exact() {
            Some(bytes) if bytes < UPLOAD_BYTES_MIN => Self::Light,
            Some(_) | None => Self::Upload,
        }
    }
}

/// The places for requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admission {
    requests: Places,
    uploads: Places,
}

/// Places of one kind.
#[derive(Clone, Debug)]
struct Places {
    name: &'static str,
    free: Arc<Semaphore>,
    limit: usize,
    wait: Duration,
}

/// How many places there are, and how long a request waits for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionParams {
    /// Requests at once.
    pub requests: usize,
    /// Among them those with a large body.
    pub uploads: usize,
    /// Time for which a request waits.
    pub wait: Duration,
}

/// The place of a request; given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    _request: OwnedSemaphorePermit,
    _upload: Option<OwnedSemaphorePermit>,
}

impl Admission {
    /// Places as `params` say.
    #[must_use]
    pub fn new(params: AdmissionParams) -> Self {
        let AdmissionParams { requests, uploads, wait } = params;
        let places =
            |name, limit| Places { name, free: Arc::new(Semaphore::new(limit)), limit, wait };
        Self { requests: places("requests", requests), uploads: places("uploads", uploads) }
    }

    /// The place of a request; waits for it in turn.
    ///
    /// # Errors
    /// `SlowDown` when none became free in time.
    pub async fn enter(&self, load: Load) -> Result<Place, Fault> {
        // An upload that waits must not take the place of a request that need not.
        let upload = match load {
            Load::Upload => Some(self.uploads.take().await?),
            Load::Light => None,
        };
        Ok(Place { _request: self.requests.take().await?, _upload: upload })
    }

    /// How many places are taken.
    #[must_use]
    pub fn usage(&self) -> [Usage; 2] {
        [self.requests.usage(), self.uploads.usage()]
    }
}

impl Places {
    async fn take(&self) -> Result<OwnedSemaphorePermit, Fault> {
        if let Ok(place) = self.free.clone().try_acquire_owned() {
            return Ok(place);
        }
        match tokio::time::timeout(self.wait, self.free.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(Fault::new(
                FaultKind::SlowDown,
                format!("this server works on {} {} already; try again", self.limit, self.name),
            )),
        }
    }

    fn usage(&self) -> Usage {
        Usage::new(self.name, self.limit - self.free.available_permits(), self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(requests: usize, uploads: usize, wait: Duration) -> Admission {
        Admission::new(AdmissionParams { requests, uploads, wait })
    }

    #[tokio::test]
    async fn who_finds_no_place_in_time_is_told_to_come_again() {
        let admission = admission(3, 1, Duration::from_millis(1));
        let upload = admission.enter(Load::Upload).await.unwrap();
        let fault = admission.enter(Load::Upload).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::SlowDown);
        let small = admission.enter(Load::Light).await.unwrap();
        let used = admission.usage().map(|usage| usage.used);
        assert_eq!(used, [2, 1], "an upload that waited in vain holds no place");
        drop(upload);
        let again = admission.enter(Load::Upload).await.unwrap();
        let third = admission.enter(Load::Light).await.unwrap();
        assert!(admission.enter(Load::Light).await.is_err());
        drop((again, third, small));
        assert_eq!(admission.usage().map(|usage| usage.used), [0, 0]);
    }

    #[tokio::test]
    async fn a_place_that_becomes_free_goes_to_who_waits() {
        let admission = admission(1, 1, Duration::from_secs(60));
        let first = admission.enter(Load::Light).await.unwrap();
        let second = tokio::spawn({
            let admission = admission.clone();
            async move { admission.enter(Load::Light).await.is_ok() }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert!(second.await.unwrap());
    }

    #[test]
    fn the_length_of_the_body_tells_the_load() {
        let of = |body| Load::of(&Request::new(body));
        assert_eq!(of(Body::empty()), Load::Light);
        assert_eq!(of(Body::from(vec![0; 65_535])), Load::Light);
        assert_eq!(of(Body::from(vec![0; 65_536])), Load::Upload);
        let unknown = futures::stream::iter([Ok::<_, std::io::Error>("x")]);
        assert_eq!(of(Body::from_stream(unknown)), Load::Upload);
    }
}
