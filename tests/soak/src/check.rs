//! What a check is, and what it counts.

/// One fault, and what looks whether it does harm.
pub struct Check {
    /// The row in `docs/trust.md`: `A1`.
    pub id: &'static str,
    /// The fault in a few words.
    pub fault: &'static str,
    /// What [`Tally::done`] counts: "checked reads".
    pub unit: &'static str,
    /// How many of them a run of the tests makes.
    pub ci: u64,
    /// How many a soak is to reach.
    pub soak: u64,
    /// How many one turn of a soak makes: some seconds' worth.
    pub turn: u64,
    /// What must have been counted for the fault to have happened; a turn in which one of them is 0 fails.
    pub evidence: &'static [&'static str],
    /// Makes `amount` of them or a few more, from `seed`. Panics, saying what it saw, if a promise is broken.
    pub run: fn(amount: u64, seed: u64) -> Result<Tally, Skip>,
}

/// What this machine lacks for a check, in one line.
#[derive(Debug)]
pub struct Skip(pub String);

/// What a turn counted.
#[derive(Debug, Default)]
pub struct Tally {
    /// In the check's unit.
    pub done: u64,
    /// In the order in which the names came first.
    pub evidence: Vec<(&'static str, u64)>,
}

impl Tally {
    /// Counts `count` more of `name`.
    pub fn add(&mut self, name: &'static str, count: u64) {
        match self.evidence.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += count,
            None => self.evidence.push((name, count)),
        }
    }

    /// Adds what another counted.
    pub fn merge(&mut self, other: Tally) {
        self.done += other.done;
        other.evidence.into_iter().for_each(|(name, count)| self.add(name, count));
    }

    /// What is missing for the turn to prove anything.
    pub fn lacks(&self, check: &Check, amount: u64) -> Option<String> {
        if self.done < amount {
            return Some(format!("{} of {amount} {} were made", self.done, check.unit));
        }
        let is_counted = |name| self.evidence.iter().any(|&(known, count)| known == name && count > 0);
        let missing = check.evidence.iter().find(|&&name| !is_counted(name))?;
        Some(format!("the fault did not happen: {missing}: 0"))
    }
}
