//! What a read costs its reader, in one process: `cargo bench -p mailbox-bench --bench read`.
//!
//! For work on the code itself; see `publish.rs`.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use shm_mailbox::Options;

fn read(criterion: &mut Criterion) {
    let directory = tempfile::Builder::new().prefix("mailbox-bench-").tempdir_in("/dev/shm").expect("shared memory");
    let options = Options::new().dir(directory.path());
    let mut group = criterion.benchmark_group("read");

    let mut writer = options.create("quiet").expect("a mailbox");
    writer.publish(b"nothing after this").expect("published");
    let mut reader = options.open("quiet").expect("the mailbox");
    reader.read().expect("published before");
    group.bench_function("try_read, nothing new", |bencher| {
        bencher.iter(|| assert!(black_box(reader.try_read()).expect("healthy").is_none()));
    });

    for size in [8, 32, 40, 41, 256, 4096, 65536, 1 << 20] {
        let line = vec![b'x'; size];
        let name = format!("line-{size}");
        let mut writer = options.clone().capacity(size).create(&name).expect("a mailbox");
        let mut reader = options.open(&name).expect("the mailbox");
        writer.publish(&line).expect("published");
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("latest, again", size), |bencher| {
            bencher.iter(|| black_box(reader.latest().expect("healthy").expect("published").bytes).len());
        });
        group.bench_function(BenchmarkId::new("try_read, a new line", size), |bencher| {
            bencher.iter_batched(
                || _ = writer.publish(&line).expect("published"),
                |()| black_box(reader.try_read().expect("healthy").expect("published").bytes).len(),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, read);
criterion_main!(benches);
