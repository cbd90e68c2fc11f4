//! Bodies of requests that come too slowly are given up.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use readvault_ambient::Clock;
use readvault_ops::body::TooSlow;
use tokio::time::{Sleep, sleep};

/// Time that a client gets for each [`BODY_BYTES_MIN`] of a body while the server waits for them.
pub const BODY_WAIT: Duration = Duration::from_secs(30);

/// Bytes that a body must bring in that time, unless it ends before.
pub const BODY_BYTES_MIN: usize = 16 << 10;

/// A body that ends with [`TooSlow`] when its bytes don't come. Time in which the server itself does not
/// ask for bytes is not counted.
pub(super) struct Patient<B> {
    body: B,
    clock: Arc<dyn Clock>,
    wait: Duration,
    /// What is left of the time for the bytes that are due.
    left: Duration,
    /// Bytes that came in it.
    came: usize,
    /// Since when the server waits, and what wakes it when it waited for too long.
    waiting: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl<B> Patient<B> {
    /// `body`, which gets `wait` for each [`BODY_BYTES_MIN`].
    pub(super) fn new(body: B, clock: Arc<dyn Clock>, wait: Duration) -> Self {
        Self { body, clock, wait, left: wait, came: 0, waiting: None }
    }

    fn came(&mut self, bytes: usize) {
        if let Some((since, _)) = self.waiting.take() {
            self.left = self.left.saturating_sub(self.clock.monotonic().saturating_sub(since));
        }
        self.came += bytes;
        if self.came >= BODY_BYTES_MIN {
            (self.left, self.came) = (self.wait, 0);
        }
    }
}

impl<B> Body for Patient<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        if let Poll::Ready(polled) = Pin::new(&mut self.body).poll_frame(context) {
            let bytes = match &polled {
                Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_)) | None => 0,
            };
            self.came(bytes);
            return Poll::Ready(polled.map(|frame| frame.map_err(Into::into)));
        }
        let (now, left) = (self.clock.monotonic(), self.left);
        let (_, wake) = self.waiting.get_or_insert_with(|| (now, Box::pin(sleep(left))));
        ready!(wake.as_mut().poll(context));
        Poll::Ready(Some(Err(Box::new(TooSlow))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt as _;
    use readvault_ambient::System;

    const WAIT: Duration = Duration::from_millis(400);

    /// Reads a body whose pieces come after so many milliseconds each, with a pause after each; how many
    /// came, and whether it ended well.
    async fn read(pieces: &[(u64, usize)], pause: Duration) -> (usize, bool) {
        let pieces = futures::stream::iter(pieces.to_vec()).then(|(millis, bytes)| async move {
            sleep(Duration::from_millis(millis)).await;
            Ok::<_, std::io::Error>(Bytes::from(vec![0; bytes]))
        });
        let body = axum::body::Body::from_stream(pieces.boxed());
        let patient = Patient::new(body, Arc::new(System), WAIT);
        let mut stream = axum::body::Body::new(patient).into_data_stream();
        let mut count = 0;
        while let Some(piece) = stream.next().await {
            if piece.is_err() {
                return (count, false);
            }
            count += 1;
            sleep(pause).await;
        }
        (count, true)
    }

    #[tokio::test]
    async fn bodies_that_do_not_come_are_given_up() {
        let never = 3_600_000;
        assert_eq!(read(&[(0, 5), (never, 5)], Duration::ZERO).await, (1, false));
        assert_eq!(read(&[(1, BODY_BYTES_MIN), (1, 5)], Duration::ZERO).await, (2, true));
    }

    #[tokio::test]
    async fn a_byte_now_and_then_buys_no_time() {
        let drops = [(150, 1); 40];
        let (count, whole) = read(&drops, Duration::ZERO).await;
        assert!(count < 5 && !whole, "{count}");
    }

    #[tokio::test]
    async fn a_slow_server_is_not_the_fault_of_its_client() {
        assert_eq!(read(&[(1, 1), (1, 1), (1, 1)], 2 * WAIT).await, (3, true));
    }
}
