//! The shared parts hold together: a vault closes, opens again and shows what it acknowledged.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use bytes::Bytes;
use readvault_campaigns::{
    home::Home,
    lane::{Client, Witness},
    verify,
};
use readvault_store::vault::SlotChoice;

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_shows_what_it_acknowledged_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (home, witness) = (Home::new(directory.path()), Witness::default());
    let open = home.open().await.unwrap();
    let lane = Client::new("a", &open).await.unwrap();
    let lane = lane.at(&open, &witness);
    lane.put("small", Bytes::from_static(b"reads"), SlotChoice::OfStore).await.unwrap();
    lane.put("large", vec![3; 2_500_000].into(), SlotChoice::Own).await.unwrap();
    lane.upload("parts", &[vec![1; 1_200_000].into(), vec![2; 9].into()]).await.unwrap();
    lane.copy("large", "copy").await.unwrap();
    lane.put("small", Bytes::from_static(b"other reads"), SlotChoice::OfStore).await.unwrap();
    lane.delete("large").await.unwrap();
    assert_eq!(witness.oracle.acknowledged(), 8);
    open.close().await.unwrap();
    let open = verify::check(&home, &witness, witness.ticks.now()).await.unwrap();
    assert_eq!(open.packs_read, 0, "after an end in order a start reads no pack");
    assert_eq!(verify::shown(&open).await.unwrap().len(), 3);
    verify::goes_on(&open).await.unwrap();
}
