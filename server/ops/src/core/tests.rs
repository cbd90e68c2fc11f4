//! Wall clocks that jump, step back, stand still, or show a far year.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use futures::TryStreamExt as _;
use readvault_ambient::{Clock as _, System, testing::ManualClock};
use readvault_store::{catalog::Commit, testing};

use super::*;
use crate::{
    authorize::{Authorizer, Permit},
    body::{Body, Declared},
    bucket::{Buckets, create::NewBucket},
    idempotency::Once,
    identity::{Caller, Principal},
    object::{
        Objects, Settings,
        find::Name,
        get::{Download, GetObject},
        put::PutObject,
    },
};

/// 2026-11-25T00:00:00Z.
const NOW_MS: u64 = 1_795_564_800_000;
const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
/// The last second that 32 bits hold, and the first day of 2100.
const Y2038_MS: u64 = 2_147_483_647_000;
const Y2100_MS: u64 = 4_102_444_800_000;

/// Where a clock may find itself next.
const JUMPS: [u64; 9] = [
    NOW_MS + 15 * MINUTE_MS,
    NOW_MS - 15 * MINUTE_MS,
    NOW_MS + DAY_MS,
    NOW_MS - DAY_MS,
    NOW_MS,
    NOW_MS,
    Y2038_MS,
    Y2038_MS + 1000,
    Y2100_MS,
];

async fn core_at(clock: Arc<ManualClock>) -> Core {
    let site = Site { account: "123456789012".into(), region: "us-east-1".into() };
    Core::new(testing::vault().await, site, clock, Arc::new(System))
}

async fn objects(clock: Arc<ManualClock>) -> (Objects, Permit) {
    let buckets = Buckets::new(core_at(clock).await);
    let caller = Caller { principal: Principal::Root, ..Caller::anonymous() };
    let permit = Authorizer::default().authorize(&caller, &[]).unwrap();
    let new = NewBucket { name: "bkt".into(), ..NewBucket::default() };
    buckets.create(&permit, new).await.unwrap();
    (Objects::new(buckets, Settings::default()), permit)
}

#[test]
fn far_years_are_written_right() {
    let cases = [
        (NOW_MS, "2026-11-25T00:00:00.000Z"),
        (Y2038_MS, "2038-01-19T03:14:07.000Z"),
        (Y2038_MS + 1000, "2038-01-19T03:14:08.000Z"),
        (Y2100_MS, "2100-01-01T00:00:00.000Z"),
        // 2100 has no 29 February.
        (Y2100_MS + 59 * DAY_MS, "2100-03-01T00:00:00.000Z"),
    ];
    for (unix_ms, text) in cases {
        assert_eq!(rfc3339(unix_ms), text);
    }
}

#[tokio::test]
async fn numbers_go_up_whatever_the_clock_does() {
    let clock = Arc::new(ManualClock::at(NOW_MS));
    let core = core_at(clock.clone()).await;
    let mut last = 0;
    for jump in JUMPS {
        clock.set(jump);
        for _ in 0..70 {
            let next = core.next_id("family", 1).await.unwrap();
            assert!(next > last, "{next} after {last} at {jump}");
            last = next;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_callers_at_once_get_numbers_of_their_own() {
    let core = core_at(Arc::new(ManualClock::at(NOW_MS))).await;
    let calls = (0..1000).map(|_| {
        let core = core.clone();
        tokio::spawn(async move { core.next_id("family", 1).await.unwrap() })
    });
    let numbers = futures::future::join_all(calls.collect::<Vec<_>>()).await;
    let distinct: BTreeSet<_> = numbers.into_iter().map(Result::unwrap).collect();
    assert_eq!(distinct.len(), 1000);
}

#[tokio::test]
async fn a_step_back_in_the_middle_of_an_upload_harms_nothing() {
    let clock = Arc::new(ManualClock::at(NOW_MS));
    let (objects, permit) = objects(clock.clone()).await;
    let length = 3 * (1 << 20);
    for (number, jump) in JUMPS.into_iter().enumerate() {
        clock.set(NOW_MS);
        let mover = clock.clone();
        let pieces = futures::stream::iter((0..6_u8).map(move |piece| {
            if piece == 3 {
                mover.set(jump);
            }
            Ok(Bytes::from(vec![piece ^ u8::try_from(number).unwrap(); 1 << 19]))
        }));
        let body = Body { stream: Box::pin(pieces), length, declared: Declared::default() };
        let target = PutObject { bucket: "bkt".into(), key: "k".into(), ..PutObject::default() };
        objects.put(&permit, target, body).await.unwrap();
        let name = Name::new("bkt", "k");
        let (found, download) = objects.get(&permit, &name, &GetObject::default()).await.unwrap();
        let bytes: Vec<u8> = match download {
            Download::Whole(bytes) => bytes.to_vec(),
            Download::Stream(live) => live.try_collect::<Vec<_>>().await.unwrap().concat(),
        };
        assert_eq!(bytes.len() as u64, length, "{jump}");
        assert!(bytes.iter().enumerate().all(|(at, byte)| {
            *byte == u8::try_from(at >> 19).unwrap() ^ u8::try_from(number).unwrap()
        }));
        assert_eq!(found.found.modified_ms, NOW_MS, "the time at which it began");
    }
}

#[tokio::test]
async fn a_token_holds_whatever_the_clock_does() {
    let clock = Arc::new(ManualClock::at(NOW_MS));
    let core = core_at(clock.clone()).await;
    let once = Once::new("Create", Some("token"), &"request");
    let mut commit = Commit::new();
    once.keep(&core, &mut commit, &7_u64);
    assert!(core.commit(commit).await.unwrap());
    for jump in JUMPS {
        clock.set(jump);
        assert_eq!(once.earlier::<u64>(&core).await.unwrap(), Some(7), "at {}", clock.unix_ms());
    }
}
