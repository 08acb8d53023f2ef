//! What must be possible after a kill, in a copy of the files that it left.

use shm_mailbox::{ErrorKind, Reader};

use crate::common::{NAME, Place, line};

/// A line with its number, as a reader has it.
pub type Shown = (u64, Vec<u8>);

/// What a kill may leave.
#[derive(Clone, Default)]
pub struct Promise {
    /// What a reader may find; `None`: nothing.
    pub shown: Vec<Option<Shown>>,
    /// Where the next writer may stand if readers find nothing.
    pub numbers: Vec<u64>,
    /// Whether the next writer may have to make a new instance, where the line that readers find is number 1.
    pub may_renumber: bool,
}

/// The next line's salt, so that it is no other's.
const NEXT: u64 = 0x6e65_7874;

impl Promise {
    /// Line `number` of these bytes, or nothing where that is 0.
    pub fn line(number: u64, bytes: &[u8]) -> Option<Shown> {
        (number > 0).then(|| (number, bytes.to_vec()))
    }

    /// Opens the copy in `place` as a reader and as the next writer, and publishes. Panics if either finds anything
    /// else than was promised. Says what the reader found.
    pub fn check(&self, place: &Place) -> Option<Shown> {
        let options = place.options();
        let mut early = match options.open(NAME) {
            Ok(reader) => Some(reader),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => panic!("a reader cannot open it: {error}"),
        };
        let shown = early.as_mut().and_then(newest);
        let says =
            |shown: &Option<Shown>| shown.as_ref().map(|(number, bytes)| (*number, bytes.escape_ascii().to_string()));
        assert!(
            self.shown.contains(&shown),
            "a reader finds {:?}, where it may find {:?}",
            says(&shown),
            self.shown.iter().map(says).collect::<Vec<_>>()
        );

        let mut writer = options.create(NAME).unwrap_or_else(|error| panic!("there can be no other writer: {error}"));
        let number = writer.number();
        match &shown {
            Some((old, _)) => assert!(
                number == *old || self.may_renumber && number == 1,
                "the next writer stands at {number}, where readers have {old}"
            ),
            None => assert!(self.numbers.contains(&number), "the next writer stands at {number}"),
        }
        let mut late = options.open(NAME).unwrap();
        let mut readers: Vec<&mut Reader> = early.iter_mut().chain([&mut late]).collect();
        if let Some((_, bytes)) = &shown {
            for reader in &mut readers {
                assert_eq!(
                    newest(reader).as_ref(),
                    Some(&(number, bytes.clone())),
                    "the old line, until there is another"
                );
            }
        }
        let line = line(number + 1, NEXT, writer.capacity().min(24));
        assert_eq!(writer.publish(&line).unwrap(), number + 1);
        for reader in &mut readers {
            assert_eq!(newest(reader).as_ref(), Some(&(number + 1, line.clone())), "the next line");
        }
        assert_eq!(place.entries(), ["box", "box.bell", "box.lock"], "nothing else stays");
        shown
    }
}

/// The newest line, whether it was returned before or not.
pub fn newest(reader: &mut Reader) -> Option<Shown> {
    reader.latest().unwrap().map(|message| (message.number, message.bytes.to_vec()))
}
