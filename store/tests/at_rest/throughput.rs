//! How fast chunks are named, sealed and opened. Prints; judges nothing, as machines differ:
//! `cargo test --release -p readvault-store --test at_rest throughput -- --ignored --nocapture`.

use readvault_ambient::{Clock, System};
use readvault_store::{
    chunk::{ChunkOpener, ChunkSize, Cutter, seal_chunk},
    ids::PackId,
};

use crate::sample::Sample;

const CHUNKS: u32 = 256;

#[test]
#[ignore = "a measurement"]
fn throughput() {
    let sample = Sample::new(50);
    let size = ChunkSize::DEFAULT;
    let mut body = Sample::body(1 << 20);
    let chunk = Cutter::new(size).push(&mut body).unwrap();
    let timed = |what: &str, work: &mut dyn FnMut()| {
        let start = System.monotonic();
        (0..CHUNKS).for_each(|_| work());
        let rate = f64::from(CHUNKS) / (System.monotonic() - start).as_secs_f64();
        println!("{what}: {rate:.0} MiB/s on one core");
    };
    timed("name", &mut || drop(sample.domain.identify(&chunk)));
    let identity = sample.domain.identify(&chunk);
    timed("seal", &mut || drop(seal_chunk(&identity, &chunk, size, &System)));
    let sealed = seal_chunk(&identity, &chunk, size, &System);
    let opener =
        ChunkOpener::new(&identity.into_ref(), &sealed.row(PackId([0; 16]), 0, 1), size).unwrap();
    let span = opener.span(0..1 << 20);
    let start = usize::try_from(span.offset).unwrap();
    let stored = &sealed.record()[start..start + span.length as usize];
    timed("open", &mut || drop(opener.open(&span, stored).unwrap()));
}
