//! `mailbox rm`: removes mailboxes.

use crate::cli::{Place, Rm};
use crate::exit_code::{ExitCode, Failure, Result};

pub fn run(arguments: &Rm, place: &Place) -> Result {
    let options = place.options();
    let mut worst = ExitCode::Done;
    for name in &arguments.names {
        let failure = match options.remove(name, arguments.force) {
            Ok(true) => continue,
            Ok(false) => {
                let path = options.inspect(name).err().map_or_else(|| name.into(), |error| error.mailbox().to_owned());
                Failure::new(ExitCode::Nothing, format!("there is no mailbox {}", path.display()))
            }
            Err(error) => Failure::from(error),
        };
        failure.report();
        worst = worse(worst, failure.code);
    }
    Ok(worst)
}

/// Of several that could not be removed, the one that tells most.
fn worse(one: ExitCode, other: ExitCode) -> ExitCode {
    let rank = |code| match code {
        ExitCode::Done => 0,
        ExitCode::Nothing => 1,
        ExitCode::Busy => 2,
        ExitCode::Failed | ExitCode::TimedOut => 3,
    };
    if rank(other) > rank(one) { other } else { one }
}
