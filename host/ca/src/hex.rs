//! Serial numbers and fingerprints as text.

use std::fmt::Write;

/// Lower-case hexadecimal digits.
pub(crate) fn encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A serial number as [`encode`] writes it: an even number of lower-case digits, at most the 20 octets of RFC 5280, not zero.
pub(crate) fn serial(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || digits.len() > 40 {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let bytes = digits.chunks_exact(2).map(|pair| Some((digit(pair[0])? << 4) | digit(pair[1])?)).collect::<Option<Vec<u8>>>()?;
    bytes.iter().any(|byte| *byte != 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers() {
        assert_eq!(serial("00ff1a"), Some(vec![0, 255, 26]));
        assert_eq!(serial(&encode(&[7; 20])), Some(vec![7; 20]));
        for wrong in ["", "0", "00", "FF", "0g", "+1", "é", &encode(&[7; 21])] {
            assert_eq!(serial(wrong), None, "{wrong}");
        }
    }
}
