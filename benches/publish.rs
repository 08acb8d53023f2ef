//! What a publish costs its writer, nobody waiting: `cargo bench -p mailbox-bench --bench publish`.
//!
//! For work on the code itself: what differs between two versions by some per cent. Against peers, and against what the
//! machine can do, `mailbox-bench publish` compares in turns.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use shm_mailbox::Options;

fn publish(criterion: &mut Criterion) {
    let directory = tempfile::Builder::new().prefix("mailbox-bench-").tempdir_in("/dev/shm").expect("shared memory");
    let mut group = criterion.benchmark_group("publish");
    for size in [8, 32, 40, 41, 256, 4096, 65536, 1 << 20] {
        let options = Options::new().dir(directory.path()).capacity(size);
        let line = vec![b'x'; size];
        group.throughput(Throughput::Bytes(size as u64));
        let mut plain = options.create(format!("plain-{size}")).expect("a mailbox");
        group.bench_function(BenchmarkId::new("plain", size), |bencher| {
            bencher.iter(|| plain.publish(black_box(&line)).expect("published"));
        });
        let mut timed = options.timestamps(true).create(format!("timed-{size}")).expect("a mailbox");
        group.bench_function(BenchmarkId::new("with a time", size), |bencher| {
            bencher.iter(|| timed.publish(black_box(&line)).expect("published"));
        });
    }
    group.finish();
}

criterion_group!(benches, publish);
criterion_main!(benches);
