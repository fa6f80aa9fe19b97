//! The audit can fail: a store in which a charge was deleted or doubled is found out, and the request
//! named.

use std::sync::Arc;

use opencredits_loadtest::client::Client;
use opencredits_loadtest::receipts::{
    Access, Earner, Moved, MovedKind, Payer, Receipt, Receipts, Seen, Told, audit,
};
use opencredits_schema::{Credits, RequestId};

use crate::operate::Site;
use crate::operate::process::Process;
use crate::support::{ADMIN_TOKEN, User, chat};

const MODEL: &str = "openai/gpt-4o";

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_that_is_deleted_or_doubled_is_named() {
    let site = Site::new().await;
    let settings = site.settings(&[]);
    let gateway = Process::serve(&settings).await;
    let user = gateway.user("100").await;
    let mut receipts = known_of(&user);
    for _ in 0..5 {
        receipts.requests.push(ask(&gateway, &user).await);
    }
    assert_eq!(differences(&gateway, &receipts).await, Vec::<String>::new());
    let mut untold = receipts.clone();
    untold.requests.pop();
    assert_eq!(differences(&gateway, &untold).await.len(), 1, "a charge that nobody made");
    gateway.kill();

    let victim = receipts.requests[2].request.unwrap();
    let double = "INSERT INTO events SELECT account, (SELECT max(seq) + 1 FROM events), kind, \
                  randomblob(16), source, balance_after, recovered, body FROM events";
    for (how, sql, said) in [
        ("deleted", "DELETE FROM events", "it was not charged"),
        ("doubled", double, "charged 2 times"),
    ] {
        let file = format!("{how}.db");
        let copy = site.folder.path().join(&file);
        let backup =
            crate::operate::process::run(&["backup", copy.to_str().unwrap()], &settings).await;
        assert!(backup.status.success());
        let store = rusqlite::Connection::open(&copy).unwrap();
        let sql = format!("{sql} WHERE request = ?1");
        assert_eq!(store.execute(&sql, [victim.bits().to_be_bytes()]).unwrap(), 1);
        drop(store);
        let tampered = site.settings(&[("STORE", &site.store(&file))]);
        let gateway = Process::serve(&tampered).await;
        let lines = differences(&gateway, &receipts).await;
        let named = format!("request {victim}: ");
        let line = lines.iter().find(|line| line.contains(&named) && line.contains(said));
        assert!(line.is_some(), "{how}: {lines:#?}");
        assert!(lines.iter().any(|line| line.starts_with("books: ")), "{how}: {lines:#?}");
    }
}

fn known_of(user: &User) -> Receipts {
    let User { account, key, partner, secret_key, .. } = user.clone();
    Receipts {
        earners: vec![Earner { id: partner, secret_key }],
        payers: vec![Payer { account, key, earner: 0 }],
        requests: Vec::new(),
        moved: vec![Moved {
            payer: 0,
            kind: MovedKind::Grant,
            credits: Credits::parse("100").unwrap(),
        }],
    }
}

async fn ask(gateway: &Process, user: &User) -> Receipt {
    let request = chat(MODEL, "Hi [[sim output=5]]");
    let answer = gateway.post(user, "/v1/chat/completions", &request).send().await.unwrap();
    let header =
        |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let request: RequestId = header("x-opencredits-request-id").unwrap().parse().unwrap();
    let charge = header("x-opencredits-charge");
    let end = Told::whole(charge.as_deref(), &answer.bytes().await.unwrap()).unwrap();
    let model = Arc::from(MODEL);
    Receipt { payer: 0, model, request: Some(request), seen: Seen::End(end), at_most: None }
}

async fn differences(gateway: &Process, receipts: &Receipts) -> Vec<String> {
    let (base, admin) = (gateway.base.clone(), gateway.admin.clone());
    let access = Access { base, admin, admin_token: ADMIN_TOKEN.to_owned() };
    audit(&Client::default(), &access, receipts).await.unwrap()
}
