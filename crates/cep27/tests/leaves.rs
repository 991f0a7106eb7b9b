//! `leaves.json` lists every node of a valid statement and what becomes of a change to it. Here
//! every such change is made.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};

use cep27::{Expected, FileName, Sha256, validate_against};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(rename = "about")]
    _about: Vec<String>,
    statement: Value,
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    pointer: String,
    legal: Option<String>,
    removed: Option<String>,
    null: Option<String>,
    retyped: Option<String>,
    #[serde(default)]
    another: BTreeMap<String, String>,
}

fn list() -> List {
    serde_json::from_str(include_str!("leaves.json")).unwrap()
}

/// The pointers of all nodes below the root.
fn pointers(value: &Value, here: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(k, v)| (k.clone(), v)).collect(),
        Value::Array(elements) => (0..).map(|i: usize| i.to_string()).zip(elements).collect(),
        _ => Vec::new(),
    };
    for (key, child) in children {
        let pointer = format!("{here}/{key}");
        pointers(child, &pointer, found);
        found.push(pointer);
    }
}

/// What a verifier of the listed statement's own package says, as the list writes it.
fn verdict(statement: &List, json: &[u8]) -> String {
    let text = |pointer| {
        statement
            .statement
            .pointer(pointer)
            .unwrap()
            .as_str()
            .unwrap()
    };
    let file: FileName = text("/subject/0/name").parse().unwrap();
    let sha256: Sha256 = text("/subject/0/digest/sha256").parse().unwrap();
    let channel = Some(text("/predicate/targetChannel"));
    let expected = Expected {
        file: &file,
        sha256,
        channel,
        subdir: None,
    };
    match validate_against(json, &expected) {
        Ok(_) => "valid".to_owned(),
        Err(violations) => violations
            .iter()
            .map(|violation| format!("{} {}", violation.rule.number(), violation.pointer))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

fn changed(list: &List, pointer: &str, value: Value) -> Vec<u8> {
    let mut statement = list.statement.clone();
    *statement.pointer_mut(pointer).unwrap() = value;
    serde_json::to_vec(&statement).unwrap()
}

fn removed(list: &List, pointer: &str) -> Vec<u8> {
    let mut statement = list.statement.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match statement.pointer_mut(parent).unwrap() {
        Value::Object(members) => drop(members.remove(key).unwrap()),
        Value::Array(elements) => drop(elements.remove(key.parse().unwrap())),
        _ => unreachable!(),
    }
    serde_json::to_vec(&statement).unwrap()
}

/// Values of every JSON type but null and the given one's own.
fn retyped(value: &Value) -> Vec<Value> {
    [json!(true), json!(7), json!("text"), json!([]), json!({})]
        .into_iter()
        .filter(|other| std::mem::discriminant(other) != std::mem::discriminant(value))
        .collect()
}

/// The text with each of its characters, in turn, replaced, dropped and doubled.
fn one_character_off(text: &str) -> impl Iterator<Item = String> {
    (0..text.len()).flat_map(move |at| {
        let (before, after) = (&text[..at], &text[at + 1..]);
        let here = &text[at..=at];
        let other = if here == "x" { "y" } else { "x" };
        [
            format!("{before}{other}{after}"),
            format!("{before}{after}"),
            format!("{before}{here}{here}{after}"),
        ]
    })
}

/// The statement with the member at a pointer written twice.
fn duplicated(value: &Value, here: &str, pointer: &str) -> String {
    match value {
        Value::Object(members) => {
            let mut written = Vec::new();
            for (key, child) in members {
                let at = format!("{here}/{key}");
                let member = format!("{}:{}", json!(key), duplicated(child, &at, pointer));
                let times = if at == pointer { 2 } else { 1 };
                written.extend(std::iter::repeat_n(member, times));
            }
            format!("{{{}}}", written.join(","))
        }
        Value::Array(elements) => {
            let written = elements.iter().enumerate();
            let written =
                written.map(|(i, child)| duplicated(child, &format!("{here}/{i}"), pointer));
            format!("[{}]", written.collect::<Vec<_>>().join(","))
        }
        leaf => leaf.to_string(),
    }
}

#[test]
fn every_node_of_the_statement_is_listed_once() {
    let list = list();
    let mut nodes = Vec::new();
    pointers(&list.statement, "", &mut nodes);
    let listed: BTreeSet<&str> = list.nodes.iter().map(|node| &*node.pointer).collect();
    assert_eq!(listed.len(), list.nodes.len(), "a node is listed twice");
    assert_eq!(listed, nodes.iter().map(|pointer| &**pointer).collect());
    assert_eq!(
        verdict(&list, &serde_json::to_vec(&list.statement).unwrap()),
        "valid"
    );
}

#[test]
fn every_change_is_refused_or_legal_as_listed() {
    let list = list();
    for node in &list.nodes {
        let pointer = &*node.pointer;
        let value = list.statement.pointer(pointer).unwrap();
        let check = |json: &[u8], listed: &Option<String>| {
            let listed = match (&node.legal, listed) {
                (Some(_), None) => "valid",
                (None, Some(violations)) => violations,
                _ => panic!("{pointer}: either legal, or all of removed, null and retyped"),
            };
            assert_eq!(
                verdict(&list, json),
                listed,
                "{}",
                String::from_utf8_lossy(json)
            );
        };
        check(&removed(&list, pointer), &node.removed);
        check(&changed(&list, pointer, Value::Null), &node.null);
        for other in retyped(value) {
            check(&changed(&list, pointer, other), &node.retyped);
        }
        for (other, violations) in &node.another {
            check(
                &changed(&list, pointer, json!(other)),
                &Some(violations.clone()),
            );
        }
        if let Value::String(text) = value {
            assert_eq!(node.another.is_empty(), node.legal.is_some(), "{pointer}");
            for other in one_character_off(text) {
                let verdict = verdict(&list, &changed(&list, pointer, json!(other)));
                assert_eq!(
                    verdict == "valid",
                    node.legal.is_some(),
                    "{pointer}: {other}"
                );
            }
        }
    }
}

#[test]
fn no_member_may_be_there_twice_even_where_any_value_is_legal() {
    let list = list();
    for node in &list.nodes {
        let (parent, _) = node.pointer.rsplit_once('/').unwrap();
        if list.statement.pointer(parent).unwrap().is_object() {
            let json = duplicated(&list.statement, "", &node.pointer);
            assert_eq!(
                verdict(&list, json.as_bytes()),
                format!("0 {}", node.pointer)
            );
        }
    }
}
