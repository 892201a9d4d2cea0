//! A receiver with something beside its folder that must stay as it is, whatever is tried.

use std::time::{Duration, Instant};

use super::{Host, Scene, disk};

/// Everything around the inbox that must stay as it is, and a receiver that takes all it should.
pub fn besieged(scene: &Scene) -> Host {
    disk::motley(&scene.path("canary"), 20, 1_000);
    scene.receive().args(["--yes", "--classic", "accept"]).listening()
}

/// A good peer is served within `limit`, and nothing but its file is there.
pub fn assert_serves(scene: &Scene, host: &Host, limit: Duration) {
    let source = scene.thing("good.txt", b"a good file");
    let started = Instant::now();
    scene.send(&source).args(["--to", &host.qrdrop_link()]).run().with(0);
    assert!(started.elapsed() < limit, "a good peer waits {:?}", started.elapsed());
}

/// What lies beside the inbox is as it was made.
pub fn assert_canary_unharmed(scene: &Scene) {
    let canary = disk::tree(&scene.path("canary"));
    disk::motley(&scene.path("again"), 20, 1_000);
    assert_eq!(canary, disk::tree(&scene.path("again")), "the canary tree is as it was made");
}

/// It ended well, with no more than what [`assert_serves`] sent.
pub fn assert_unharmed(scene: &Scene, host: Host) {
    assert_canary_unharmed(scene);
    let ended = host.stopped();
    assert_ne!(ended.code, Some(1), "no defect of ours shows\n{ended}");
    assert!(!ended.screen.contains("panicked"), "{ended}");
    assert_eq!(ended.named("stored").len(), disk::names(&scene.inbox()).len(), "{ended}");
    for stored in ended.named("stored") {
        assert_eq!(stored["blake3"].as_str(), Some(disk::hash(&scene.path("things/good.txt")).as_str()), "{ended}");
    }
}
