//! Bytes from strangers never cause a panic, and a changed request is never accepted with another key.

use std::time::SystemTime;

use ostler_ca::{check_request, claims};
use rcgen::{CertificateParams, KeyPair};

use crate::support::{authority, der, pem, user};

/// Small, and the same every time (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    /// A copy with one to four changes: bytes changed, removed, added or the end cut off.
    fn mutated(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut copy = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let position = self.below(copy.len().max(1));
            match self.below(8) {
                _ if copy.is_empty() => copy.push(self.byte()),
                0 => copy.truncate(position),
                1 => drop(copy.remove(position)),
                2 => copy.insert(position, self.byte()),
                3 => copy[position] ^= 1 << self.below(8),
                4 => copy[position] = [0, 0x7f, 0x80, 0x81, 0x84, 0xff][self.below(6)],
                _ => copy[position] = self.byte(),
            }
        }
        copy
    }
}

#[test]
fn requests() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let elliptic = params.serialize_request(&key).unwrap().pem().unwrap().into_bytes();
    let rsa = include_bytes!("../requests/manager-sha1.pem");
    let pss = include_bytes!("../requests/rsa3072-pss.pem");
    for text in [&elliptic[..], rsa, pss] {
        let original = check_request(text).unwrap();
        let bytes = der(text);
        for _ in 0..3000 {
            let changed = dice.mutated(&bytes);
            if let Ok(key) = check_request(&pem("CERTIFICATE REQUEST", &changed)) {
                assert_eq!(key, original);
            }
            if let Ok(key) = check_request(&dice.mutated(text)) {
                assert_eq!(key, original);
            }
        }
    }
}

#[test]
fn certificates() {
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let (_directory, authority) = authority();
    let (issued, _) = authority.issue_with_key(&user(), SystemTime::now()).unwrap();
    let mut refused = 0;
    for _ in 0..5000 {
        refused += usize::from(claims(&dice.mutated(&issued.der)).is_err());
    }
    // Most changes destroy the structure; some only change a value.
    assert!((1000..5000).contains(&refused), "{refused}");
}
