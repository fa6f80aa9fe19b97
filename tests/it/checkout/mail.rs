//! Login codes by SMTP, to a server that takes one mail.

use std::net::Ipv4Addr;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use super::Shop;

/// Takes one mail, and gives it back as it came.
async fn take_one(listener: TcpListener) -> String {
    let (stream, _) = listener.accept().await.unwrap();
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 test\r\n").await.unwrap();
    let (mut mail, mut is_data) = (String::new(), false);
    while let Some(line) = lines.next_line().await.unwrap() {
        if is_data && line != "." {
            mail.push_str(&line);
            mail.push('\n');
            continue;
        }
        let answer = match line.split(' ').next().unwrap() {
            "DATA" => "354 go on\r\n",
            "QUIT" => "221 bye\r\n",
            _ => "250 ok\r\n",
        };
        write.write_all(answer.as_bytes()).await.unwrap();
        if line == "." {
            return mail;
        }
        is_data = line == "DATA";
    }
    mail
}

#[tokio::test]
async fn a_login_code_goes_by_mail() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("smtp://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(take_one(listener));
    let from = "OpenCredits <no-reply@example.com>";
    let own = [("DEV", "0"), ("SMTP_URL", url.as_str()), ("MAIL_FROM", from)];
    let shop = Shop::with(&own).await;
    let wish = json!({"publishable_key": shop.publishable_key, "email": "a@example.com"});
    let (status, sent) = shop.post("/checkout/login", None, &wish).await;
    assert_eq!(status, 200, "{sent}");
    let mail = server.await.unwrap();
    assert!(mail.contains("To: a@example.com") && mail.contains("no-reply@example.com"), "{mail}");
    let subject = mail.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap();
    let code = subject.split(' ').next().unwrap();
    let entry = json!({"publishable_key": shop.publishable_key, "attempt": sent["attempt"],
        "code": code});
    assert_eq!(shop.post("/checkout/verify", None, &entry).await.0, 200);
    let url = format!("{}/dev/mailbox?email=a@example.com", shop.client.base);
    assert_eq!(super::answer(shop.client.http.get(url)).await.0, 404);
    shop.close().await;
}

#[tokio::test]
async fn a_code_that_cannot_be_sent_is_told() {
    let shop = Shop::with(&[("DEV", "0")]).await;
    let wish = json!({"publishable_key": shop.publishable_key, "email": "a@example.com"});
    let (status, said) = shop.post("/checkout/login", None, &wish).await;
    assert_eq!((status, &said["error"]["type"]), (502, &json!("mail_failed")));
    shop.close().await;
}
