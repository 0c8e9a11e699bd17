//! Cases that are measured in turns, so that what disturbs the machine disturbs them alike.

use std::time::Instant;

const ROUNDS: usize = 21;
/// Nanoseconds that one round of one case takes, about.
const ROUND: f64 = 20e6;

/// Nanoseconds of one call of each case: medians over the rounds.
pub fn medians(cases: &mut [&mut dyn FnMut()]) -> Vec<f64> {
    let repeats: Vec<usize> = cases.iter_mut().map(|case| calibrate(case)).collect();
    let mut rounds = vec![Vec::with_capacity(ROUNDS); cases.len()];
    for _ in 0..ROUNDS {
        for (index, case) in cases.iter_mut().enumerate() {
            rounds[index].push(time(case, repeats[index]));
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2]
    };
    rounds.into_iter().map(median).collect()
}

fn calibrate(case: &mut dyn FnMut()) -> usize {
    let mut repeats = 1;
    loop {
        let each = time(case, repeats);
        if each * repeats as f64 > ROUND / 10.0 {
            return (ROUND / each).max(1.0) as usize;
        }
        repeats *= 4;
    }
}

/// Nanoseconds of one call.
fn time(case: &mut dyn FnMut(), repeats: usize) -> f64 {
    let start = Instant::now();
    for _ in 0..repeats {
        case();
    }
    start.elapsed().as_nanos() as f64 / repeats as f64
}
