//! `mailbox stat`: one mailbox.

use nix::unistd::{Uid, User};
use shm_mailbox::{Info, WriterState};

use crate::cli::{Place, Stat};
use crate::exit_code::{ExitCode, Result};
use crate::output::{Mailbox, Output, time, writer_state};
use crate::units::span;

pub fn run(arguments: &Stat, place: &Place) -> Result {
    let info = place.options().inspect(&arguments.name)?;
    let mut output = Output::new();
    if arguments.json {
        output.object(&Mailbox::new(&arguments.name, &info))?;
    } else {
        output.text(&sheet(&info))?;
    }
    Ok(ExitCode::Done)
}

fn sheet(info: &Info) -> String {
    let owner = match User::from_uid(Uid::from_raw(info.uid)) {
        Ok(Some(user)) => format!("{} ({})", user.name, info.uid),
        _ => info.uid.to_string(),
    };
    let writer = match info.writer_pid {
        Some(pid) if info.writer == WriterState::Unknown => format!("unknown; the last one said to be process {pid}"),
        Some(pid) => format!("{}, process {pid} by its own account", writer_state(info.writer)),
        None => writer_state(info.writer).into(),
    };
    let age = match info.age {
        Some(age) => format!("{} ({})", span(age), time(age)),
        None if info.number == 0 => "no line yet".into(),
        None => "unknown: the line carries no time".into(),
    };
    let instance = info.instance.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    format!(
        "path       {}\ninstance   {instance}\nnumber     {}\nage        {age}\nwriter     {writer}\n\
         capacity   {} bytes in a line\nbanks      {}\nmode       {:04o}\nowner      {owner}\nfootprint  {} bytes\n",
        crate::output::escape(std::os::unix::ffi::OsStrExt::as_bytes(info.path.as_os_str())),
        info.number,
        info.capacity,
        info.banks,
        info.mode,
        info.footprint
    )
}
