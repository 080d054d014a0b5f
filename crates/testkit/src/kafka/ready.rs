//! Asking a Kafka node, in its own protocol, which brokers it knows.

use std::io::{Read as _, Write as _};

use anyhow::{Result, ensure};

use crate::ports::connect;

/// Metadata request, version 4, correlation id 1, client id "t", no topics, no auto-creation.
const METADATA: [u8; 20] = [0, 0, 0, 16, 0, 3, 0, 4, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 0, 0];
const ANSWER_BYTES_MAX: u32 = 1 << 20;

/// How many brokers the node at this plaintext port says are up.
///
/// # Errors
/// When it does not answer.
pub(crate) fn brokers_up(port: u16) -> Result<u32> {
    let mut stream = connect(port)?;
    stream.write_all(&METADATA)?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let size = u32::from_be_bytes(size);
    // Correlation id, throttle time, count of brokers.
    ensure!((12..ANSWER_BYTES_MAX).contains(&size), "an answer of {size} bytes");
    let mut answer = vec![0; size as usize];
    stream.read_exact(&mut answer)?;
    Ok(u32::from_be_bytes([answer[8], answer[9], answer[10], answer[11]]))
}
