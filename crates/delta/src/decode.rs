//! From a base and a delta to the target.

use crate::number;

/// Why a delta does not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DeltaError {
    /// It is no delta at all.
    #[error("not a delta: {0}")]
    Malformed(&'static str),
    /// It copies what the base does not have, or the target is not the one that it was made for.
    #[error("the delta was made for another base: {0}")]
    WrongBase(&'static str),
    /// The target would be larger than allowed.
    #[error("the target has {0} bytes, which is more than allowed")]
    TooLarge(u32),
}

/// Makes the target, of at most `bytes_max`.
///
/// # Errors
/// [`DeltaError`]; no input panics.
pub fn apply(base: &[u8], delta: &[u8], bytes_max: usize) -> Result<Vec<u8>, DeltaError> {
    let malformed = DeltaError::Malformed;
    let (size, rest) = number::read(delta).ok_or(malformed("it begins with no size"))?;
    let mut rest = rest.strip_prefix(b"\n").ok_or(malformed("no line end after the size"))?;
    if size as usize > bytes_max {
        return Err(DeltaError::TooLarge(size));
    }
    let mut out = Vec::new();
    loop {
        let (number, after) = number::read(rest).ok_or(malformed("a command begins with no number"))?;
        let (command, after) = after.split_first().ok_or(malformed("it ends within a command"))?;
        let length = number as usize;
        match command {
            b'@' => {
                let (offset, after) = number::read(after).ok_or(malformed("a copy without an offset"))?;
                rest = after.strip_prefix(b",").ok_or(malformed("no comma after a copy"))?;
                let from = offset as usize;
                let piece = from.checked_add(length).and_then(|to| base.get(from..to));
                out.extend_from_slice(piece.ok_or(DeltaError::WrongBase("it copies from behind the end"))?);
            }
            b':' => {
                let (piece, after) = after.split_at_checked(length).ok_or(malformed("it ends within an insert"))?;
                out.extend_from_slice(piece);
                rest = after;
            }
            b';' => {
                return match out.len() == size as usize && number == number::checksum(&out) {
                    true => Ok(out),
                    false => Err(DeltaError::WrongBase("size or checksum differ")),
                };
            }
            _ => return Err(malformed("an unknown command")),
        }
        if out.len() > size as usize {
            return Err(malformed("it makes more than it says"));
        }
    }
}
