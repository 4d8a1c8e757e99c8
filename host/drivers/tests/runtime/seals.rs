//! Signatures of components.

use crate::components::dummy;
use crate::support::{TestHost, plain};
use ed25519_dalek::{Signer, SigningKey};
use ostler_drivers::{LoadError, LoadPolicy, Seal, Strictness};

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

#[tokio::test]
async fn only_a_trusted_signature_is_good_where_one_is_required() {
    let dummy = dummy();
    let (trusted, second, stranger) = (key(1), key(2), key(3));
    let by = |key: &SigningKey| Some(key.sign(&dummy).to_bytes().to_vec());
    let keys = vec![trusted.verifying_key(), second.verifying_key()];
    let tampered = Some(trusted.sign(&dummy[1..]).to_bytes().to_vec());
    // Keys, whether a signature is required, the seal, and whether it counts as signed (or a part of the reason).
    let cases = [
        (&keys[..], true, Seal::Signature(by(&trusted)), Ok(true)),
        (&keys, true, Seal::Signature(by(&second)), Ok(true)),
        (&keys, true, Seal::Signature(None), Err("require_signature")),
        (&keys, true, Seal::Signature(by(&stranger)), Err("any trusted key")),
        (&keys, true, Seal::Signature(tampered.clone()), Err("any trusted key")),
        (&keys, true, Seal::Signature(Some(vec![0; 64])), Err("any trusted key")),
        (&keys, true, Seal::Signature(Some(Vec::new())), Err("64 bytes")),
        (&keys, true, Seal::Signature(Some(vec![1; 65])), Err("64 bytes")),
        (&keys, true, Seal::Builtin, Ok(true)),
        (&keys, false, Seal::Signature(by(&trusted)), Ok(true)),
        (&keys, false, Seal::Signature(None), Ok(false)),
        // Whoever adds a signature means it.
        (&keys, false, Seal::Signature(by(&stranger)), Err("any trusted key")),
        (&[], true, Seal::Signature(by(&trusted)), Err("trusted_keys")),
        (&[], true, Seal::Builtin, Ok(true)),
        (&[], false, Seal::Signature(by(&trusted)), Ok(false)),
    ];
    for (number, (trusted_keys, require_signature, seal, expected)) in cases.into_iter().enumerate() {
        let policy = LoadPolicy { trusted_keys: trusted_keys.to_vec(), require_signature, ..LoadPolicy::default() };
        let host = TestHost::with(policy, Default::default());
        host.host.add_cloud(plain()).unwrap();
        let result = host.host.prepare("dummy", dummy.clone(), seal, Strictness::AllOrNothing).await;
        match (result, expected) {
            (Ok(prepared), Ok(signed)) => assert_eq!(prepared.package.signed, signed, "case {number}"),
            (Err(LoadError::Signature(reason)), Err(part)) => assert!(reason.contains(part), "case {number}: {reason}"),
            (result, _) => panic!("case {number}: {result:?}"),
        }
    }
}
