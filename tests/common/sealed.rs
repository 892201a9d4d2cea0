//! A phone's page as protocol.md 11 describes it, in blocking Rust: an implementation of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{hkdf, hmac};
use serde_json::{Value, json};

use super::around::connect;

const RECORD: usize = 65_536;

/// What came back.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// The head, lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }
}

/// Reads one response with a length, or to the end.
pub fn read_response(stream: &mut TcpStream) -> Option<Response> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let mut response = Response { status, head, body: Vec::new() };
    if status == 100 {
        return read_response(stream);
    }
    let length = response.header("content-length").map_or(0, |length| length.parse().expect("a length"));
    response.body.resize(length, 0);
    stream.read_exact(&mut response.body).ok()?;
    Some(response)
}

/// Sends bytes as they are on a connection of their own.
pub fn raw(to: SocketAddr, bytes: &[u8]) -> Option<Response> {
    let mut stream = connect(to);
    // The host may have its reasons to close early; then there is an answer to read.
    let _ = stream.write_all(bytes);
    read_response(&mut stream)
}

/// One request on a connection of its own, with `fields` as they stand in a head.
pub fn ask(to: SocketAddr, method: &str, target: &str, fields: &str, body: &[u8]) -> Response {
    raw(to, &request(to, method, target, fields, body)).expect("an answer")
}

/// A request as bytes.
pub fn request(to: SocketAddr, method: &str, target: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("{method} {target} HTTP/1.1\r\nHost: {to}\r\nContent-Length: {length}\r\n{fields}\r\n");
    [head.as_bytes(), body].concat()
}

fn derive(secret: &[u8], info: &[&[u8]]) -> [u8; 32] {
    let mut key = [0; 32];
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, b"qrdrop/1 web").extract(secret);
    prk.expand(info, hkdf::HKDF_SHA256).unwrap().fill(&mut key).unwrap();
    key
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &parts.concat()).as_ref().to_vec()
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).unwrap();
    bytes
}

fn unhex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().expect("hexadecimal").as_bytes()).expect("hexadecimal")
}

fn nonce(record: usize, request: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&(record as u32).to_be_bytes());
    nonce[4..].copy_from_slice(&request.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn sealing(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).unwrap())
}

fn open(key: &[u8; 32], request: u64, sealed: &[u8]) -> Option<Vec<u8>> {
    let (key, mut content) = (sealing(key), Vec::new());
    let records = sealed.len().div_ceil(RECORD + 16);
    for (number, record) in sealed.chunks(RECORD + 16).enumerate() {
        let mut record = record.to_vec();
        let last = Aad::from([u8::from(number + 1 == records)]);
        content.extend_from_slice(key.open_in_place(nonce(number, request), last, &mut record).ok()?);
    }
    (records > 0).then_some(content)
}

/// A loaded page.
pub struct Phone {
    pub address: SocketAddr,
    /// Where it connects to: the host, or what stands before it.
    via: SocketAddr,
    secret: [u8; 32],
    id: Vec<u8>,
    s: Vec<u8>,
    auth: [u8; 32],
    page: [u8; 32],
    host: [u8; 32],
    pub next: u64,
}

impl Phone {
    /// Loads the page of a link, or says what the host answered instead.
    pub fn claim(link: &str) -> Result<Phone, Response> {
        let address = link.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("a link").0;
        Phone::claim_via(link, address.parse().expect("an address"))
    }

    /// The same by way of whatever listens at `via`.
    pub fn claim_via(link: &str, via: SocketAddr) -> Result<Phone, Response> {
        let (address, fragment) = link.strip_prefix("http://").and_then(|rest| rest.split_once("/#1")).expect("a link");
        let token = &BASE64URL_NOPAD.decode(fragment.as_bytes()).expect("base64url")[..16];
        let (p, key) = (random(), derive(token, &[b"claim"]));
        let proof = mac(&key, &[b"claim page", &p, address.as_bytes()]);
        let body = json!({ "p": HEXLOWER.encode(&p), "proof": HEXLOWER.encode(&proof) }).to_string();
        let address: SocketAddr = address.parse().expect("an address");
        let answer = raw(via, &request(address, "POST", "/claim", "", body.as_bytes())).expect("an answer");
        if answer.status != 200 {
            return Err(answer);
        }
        let answer = answer.json();
        let (s, id) = (unhex(&answer["s"]), unhex(&answer["id"]));
        assert_eq!(unhex(&answer["proof"]), mac(&key, &[b"claim host", &p, &s, &id]), "the host knows the token too");
        Ok(Phone::view([address, via], derive(token, &[b"session", &p, &s]), id, &p, s))
    }

    fn view([address, via]: [SocketAddr; 2], secret: [u8; 32], id: Vec<u8>, p: &[u8], s: Vec<u8>) -> Phone {
        let key = |purpose: &str| derive(&secret, &[purpose.as_bytes(), p, &s]);
        let (auth, page, host) = (key("auth page"), key("seal page"), key("seal host"));
        Phone { address, via, secret, id, s, auth, page, host, next: 0 }
    }

    /// Loads it again with what it has kept.
    pub fn reload(&self) -> Result<Phone, Response> {
        let (p, key) = (random(), derive(&self.secret, &[b"open"]));
        let proof = mac(&key, &[b"open page", &p, &self.id]);
        let hex = |bytes: &[u8]| HEXLOWER.encode(bytes);
        let body = json!({ "id": hex(&self.id), "p": hex(&p), "proof": hex(&proof) }).to_string();
        let answer = raw(self.via, &request(self.address, "POST", "/open", "", body.as_bytes())).expect("an answer");
        if answer.status != 200 {
            return Err(answer);
        }
        let s = unhex(&answer.json()["s"]);
        assert_eq!(unhex(&answer.json()["proof"]), mac(&key, &[b"open host", &p, &s, &self.id]));
        Ok(Phone::view([self.address, self.via], self.secret, self.id.clone(), &p, s))
    }

    /// The signature of a request, as a field of its head.
    pub fn signature(&self, method: &str, target: &str, number: u64) -> String {
        let parts: [&[u8]; 6] = [method.as_bytes(), b" ", target.as_bytes(), b"\n", &self.s, &number.to_be_bytes()];
        let mac = HEXLOWER.encode(&mac(&self.auth, &parts));
        format!("X-Qrdrop: {}.{number}.{mac}\r\n", HEXLOWER.encode(&self.id))
    }

    /// Content as it goes out in the request of that number.
    pub fn seal(&self, number: u64, content: &[u8]) -> Vec<u8> {
        let (key, mut sealed) = (sealing(&self.page), Vec::new());
        let records = content.len().div_ceil(RECORD).max(1);
        for n in 0..records {
            let mut record = content[n * RECORD..content.len().min((n + 1) * RECORD)].to_vec();
            let last = Aad::from([u8::from(n + 1 == records)]);
            key.seal_in_place_append_tag(nonce(n, number), last, &mut record).unwrap();
            sealed.extend(record);
        }
        sealed
    }

    /// What an answer to the request of that number holds.
    pub fn opened(&self, number: u64, answer: &Response) -> Value {
        let content = open(&self.host, number, &answer.body).unwrap_or_else(|| answer.body.clone());
        serde_json::from_slice(&content).unwrap_or_else(|error| panic!("not JSON ({error}): {answer:?}"))
    }

    /// A whole request, numbered.
    pub fn signed(&mut self, method: &str, target: &str, content: &[u8]) -> (u64, Vec<u8>) {
        let number = self.next;
        self.next += 1;
        let body = self.seal(number, content);
        (number, request(self.address, method, target, &self.signature(method, target, number), &body))
    }

    /// Asks for something; status and content of the answer.
    pub fn ask(&mut self, method: &str, target: &str, content: &[u8]) -> (u16, Value) {
        let (number, request) = self.signed(method, target, content);
        let answer = raw(self.via, &request).expect("an answer");
        (answer.status, self.opened(number, &answer))
    }

    /// A verb that must be answered well.
    #[track_caller]
    pub fn call(&mut self, verb: &str, request: Value) -> Value {
        let (status, answer) = self.ask("POST", &format!("/api/{verb}"), request.to_string().as_bytes());
        assert_eq!(status, 200, "{verb}: {answer}");
        answer
    }

    pub fn put(&mut self, transfer: &str, id: usize, offset: usize, content: &[u8]) -> (u16, Value) {
        self.ask("PUT", &format!("/api/data/{transfer}/{id}/{offset}"), content)
    }

    /// Offers entries and waits for the decision.
    pub fn offer(&mut self, entries: Value) -> (String, Value) {
        self.offer_as(entries, Value::Null)
    }

    /// The same, known again by `resume`.
    pub fn offer_as(&mut self, entries: Value, resume: Value) -> (String, Value) {
        let transfer = HEXLOWER.encode(&random());
        let offer = json!({ "transfer": transfer, "first": 0, "entries": entries, "last": true, "resume": resume });
        self.call("offer", offer);
        let seen = self.decided(&transfer);
        (transfer, seen)
    }

    pub fn decided(&mut self, transfer: &str) -> Value {
        self.until(transfer, |seen| seen["state"] != "asking")
    }

    /// The transfer, once it is over.
    pub fn over(&mut self, transfer: &str) -> Value {
        self.until(transfer, |seen| seen["state"] != "asking" && seen["state"] != "accepted")
    }

    pub fn until(&mut self, transfer: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let mut version = json!(0);
        loop {
            let seen = self.call("wait", json!({ "transfer": transfer, "version": version }));
            if fits(&seen) {
                return seen;
            }
            version = seen["version"].clone();
        }
    }

    /// Sends one file, which must be taken and stored; what it is called there.
    #[track_caller]
    pub fn send(&mut self, path: &str, content: &[u8]) -> String {
        self.call("status", json!({ "device": "a test phone" }));
        let (transfer, seen) = self.offer(json!([{ "path": path, "bytes": content.len() }]));
        assert_eq!(seen["state"], "accepted", "{seen}");
        let (status, answer) = self.put(&transfer, 0, 0, content);
        assert_eq!((status, &answer["have"]), (200, &json!(content.len())), "{answer}");
        assert_eq!(answer["stored"]["blake3"], blake3::hash(content).to_hex().as_str());
        answer["stored"]["name"].as_str().expect("a name").to_owned()
    }
}
