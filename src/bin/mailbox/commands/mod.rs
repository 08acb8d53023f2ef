//! One file for each verb.

mod demo;
mod get;
mod list;
mod put;
mod rm;
mod stat;
mod watch;

use crate::cli::{Command, Place};
use crate::exit_code::Result;

pub fn run(command: Command, place: &Place) -> Result {
    match command {
        Command::Put(arguments) => put::run(&arguments, place),
        Command::Get(arguments) => get::run(&arguments, place),
        Command::Watch(arguments) => watch::run(&arguments, place),
        Command::List(arguments) => list::run(&arguments, place),
        Command::Stat(arguments) => stat::run(&arguments, place),
        Command::Rm(arguments) => rm::run(&arguments, place),
        Command::Demo => demo::run(place),
    }
}
