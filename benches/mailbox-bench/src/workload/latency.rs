//! How long does it take a line to get to another process? A ping-pong, all of whose participants take turns with the
//! bare flag on the same two processors.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::Outcome;
use crate::block::{Series, measure, quantile};
use crate::contender::{Contender, Side};
use crate::floor::{Flags, Turns};
use crate::partner::{Partner, pin, serve};
use crate::peers::{Peer, named};
use crate::place::Place;
use crate::report::{Figure, Percentiles};
use crate::workload::{Settings, by_size};

const OPERATION: (&str, &str) = ("one hop, half of there and back", "a hop of a bare flag");
/// Single exchanges timed, of each contender.
const SINGLES: u64 = 20_000;
/// Indices of the floors among what the partner serves; the peers follow.
const FLAGS: usize = 0;
const TURNS: usize = 1;

pub fn run(settings: &Settings) -> Outcome<Vec<Figure>> {
    by_size("latency", &settings.sizes, settings.duration, |size, duration, progress| {
        of_size(settings, size, duration, progress)
    })
}

fn of_size(settings: &Settings, size: usize, duration: Duration, progress: impl FnMut(f64)) -> Outcome<Vec<Figure>> {
    let place = Place::new()?;
    let case = format!("{size} bytes");
    let (peers, skipped) = settings.choose("latency", &case, |peer| peer.available(size));
    // Pinned before a peer starts threads of its own, which stay where they are then.
    pin(settings.cpus[0])?;
    let mut contenders = contenders(&place, Side::Here, size, &peers)?;
    let size_text = size.to_string();
    let arguments: Vec<&str> = [&*size_text].into_iter().chain(peers.iter().map(|peer| peer.name)).collect();
    let partner = Partner::start(settings, &place, "latency", &arguments)?;

    let mut exchange = |who: usize, times: u64| {
        partner.ask(who, times);
        contenders[who].bounce(times)
    };
    // T, then the peers.
    let all = measure(
        1 + peers.len(),
        duration,
        |who, times| exchange(who.map_or(FLAGS, |index| TURNS + index), times).map(|time| time / 2),
        progress,
    )?;
    let mut figures = Vec::new();
    let who = ["a read-modify-write by turns (T)"].into_iter().chain(peers.iter().map(|peer| peer.title));
    for ((index, who), series) in who.enumerate().zip(&all) {
        let mut figure = Figure::new("latency", who, &case, OPERATION, series);
        let singles = affordable(series);
        let mut histogram = Histogram::new(3)?;
        partner.ask(TURNS + index, singles);
        contenders[TURNS + index].bounce_each(singles, &mut histogram)?;
        figure.percentiles = Some(Percentiles::from(&histogram));
        figures.push(figure);
    }
    let mut hops = Histogram::new(3)?;
    partner.ask(FLAGS, SINGLES);
    contenders[FLAGS].bounce_each(SINGLES, &mut hops)?;
    figures.push(Figure::singles("latency", "a bare flag (F)", &case, (OPERATION.0, "ns"), Percentiles::from(&hops)));
    figures.extend(skipped);
    Ok(figures)
}

/// So many single exchanges that they take a tenth of a second at most.
fn affordable(series: &Series) -> u64 {
    let hop = quantile(&series.nanos, 0.5).unwrap_or(1e6);
    ((1e8 / (2.0 * hop)) as u64).clamp(100, SINGLES)
}

fn contenders(place: &Place, side: Side, size: usize, peers: &[&Peer]) -> Outcome<Vec<Box<dyn Contender>>> {
    let mut contenders: Vec<Box<dyn Contender>> = vec![Box::new(Flags::open(place)?), Box::new(Turns::open(place)?)];
    for peer in peers {
        contenders.push(peer.open(place, side, size)?);
    }
    Ok(contenders)
}

/// The other end, in a process of its own.
pub fn partner(place: &Place, arguments: &[String]) -> Outcome {
    let [size, names @ ..] = arguments else { return Err("a partner without a size".into()) };
    let peers = named(names);
    let mut contenders = contenders(place, Side::There, size.parse()?, &peers)?;
    serve(place, &mut contenders)
}
