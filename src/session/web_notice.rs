//! A browser at the door: the page is not served yet, so it is told what to use instead.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout_at;

use super::error::SessionError;
use crate::net::accept::Arrival;

/// The longest request head that is read before answering.
const HEAD_CAP: usize = 8 * 1024;

const BODY: &str = "This code is for qrdrop. On another computer: qrdrop send --scan PICTURE FILE\n";

/// Answers one request and closes.
pub(super) async fn serve(arrival: Arrival) -> Result<(), SessionError> {
    let Arrival { mut stream, head_deadline, .. } = arrival;
    let talk = async {
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD_CAP {
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let answer = format!(
            "HTTP/1.1 501 Not Implemented\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
             cache-control: no-store\r\nx-content-type-options: nosniff\r\nreferrer-policy: no-referrer\r\n\
             content-security-policy: default-src 'none'; frame-ancestors 'none'\r\nconnection: close\r\n\r\n{BODY}",
            BODY.len()
        );
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    };
    // A browser that leaves early has missed nothing.
    let _ = timeout_at(head_deadline, talk).await;
    Ok(())
}
