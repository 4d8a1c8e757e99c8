//! Certificates of services: for those that run, and as long as they do.

use super::super::start::Begun;
use super::*;
use ostler_store::{CertificateFilter, NewCertificate};

/// A signing request, as a manager makes one for an agent.
fn request() -> Vec<u8> {
    let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap().pem().unwrap().into_bytes()
}

async fn good(house: &House) -> usize {
    house.store.certificates(&CertificateFilter::default(), None, 100).await.unwrap().len()
}

#[tokio::test]
async fn agents_are_enrolled_while_their_service_runs() {
    let house = house(&[], 20).await;
    let authority = &house.services.authority;
    let enrol = async |service: i64| authority.enrol_agent(&house.manager(service), &request()).await;
    // It starts: the intent is written down, and nobody carries it out.
    let Begun::Now { service: starting, .. } = house.services.begin(&house.ann, order("php"), key("k")).await.unwrap() else {
        panic!("it had begun before")
    };
    assert!(matches!(enrol(starting).await, Err(Error::NoService)));
    assert_eq!(good(&house).await, 0);

    let service = house.services.start(&house.ann, order("php"), None).await.unwrap();
    assert!(enrol(service.id).await.unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    assert_eq!(good(&house).await, 2);
    // It stops, likewise.
    let cloud = house.services.cloud(CLOUD).unwrap();
    let input = json!({ "service": service.id });
    let stop = house.services.operation(&house.ann, OperationKind::StopService, &cloud, input, None);
    let event = event("service.stop.intent", "", CLOUD, "ann");
    house.store.service_stop_begin(None, service.id, &stop, &stop::steps(), &event).await.unwrap();
    assert!(matches!(enrol(service.id).await, Err(Error::NoService)));
    assert!(matches!(enrol(999).await, Err(Error::NoService)));
    assert_eq!(good(&house).await, 2);
}

#[tokio::test]
async fn what_has_ended_is_not_renewed() {
    let house = house(&[], 20).await;
    let (authority, host) = (&house.services.authority, Principal::host());
    let user = house.store.user_by_name("ann").await.unwrap().unwrap();
    let bundle = authority.issue_user(&user, "ann").await.unwrap();
    let known = authority.show(&host, &bundle.serial).await.unwrap();
    assert_ne!(authority.renew(&host, &bundle.serial).await.unwrap().serial, known.serial);
    let old = |serial: &str, not_after: i64| NewCertificate {
        serial: serial.into(),
        role: known.role.clone(),
        user_id: known.user_id.clone(),
        service_id: None,
        locator: None,
        subject: known.subject.clone(),
        pem: known.pem.clone(),
        not_before: 0,
        not_after,
        issued_by: "ann".into(),
    };
    house.store.certificate_add(&old("0a", ostler_store::now())).await.unwrap();
    let refused = authority.renew(&host, "0a").await;
    assert!(matches!(refused, Err(Error::Busy(why)) if why.contains("ended")), "{refused:?}");
    assert_eq!(good(&house).await, 2);

    // Of a service that is over, whatever the record says of the certificate.
    let service = house.services.start(&house.ann, order("php"), None).await.unwrap();
    let filter = CertificateFilter { service_id: Some(service.id), ..CertificateFilter::default() };
    let of_manager = house.store.certificates(&filter, None, 1).await.unwrap().remove(0);
    assert!(authority.renew(&host, &of_manager.serial).await.is_ok());
    house.services.stop(&house.ann, service.id).await.unwrap();
    let left = NewCertificate {
        role: of_manager.role,
        service_id: of_manager.service_id,
        locator: of_manager.locator,
        pem: of_manager.pem,
        ..old("0b", of_manager.not_after)
    };
    house.store.certificate_add(&left).await.unwrap();
    assert!(matches!(authority.renew(&host, "0b").await, Err(Error::NoService)));
}
