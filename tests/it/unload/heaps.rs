//! Addresses of a library in blocks of memory that a library of C keeps, which others need as well.

use hotseat_test_support::{Host, eventually, fault, host, wire};

use super::{
    census::{keeper_is_mapped, needs_keeper, with_keeper_of},
    ended_as, kept_or_gone,
};

const HELD: &str = "held by a block of memory that libkeeper.so keeps";

/// A list of functions, as many libraries of C have one: its nodes are blocks, and the newest is the
/// last of a chain. A name of its own is put before each node, as some allocators do.
const LIST: &str = "
#include <stdlib.h>
struct node { int (*function)(void); struct node *next; };
static struct node *list;
void keeper_keep(int (*it)(void)) {
    if (!it) {
        while (list) {
            struct node *first = list;
            list = first->next;
            free((char *)first - 8);
        }
        return;
    }
    struct node **end = &list;
    while (*end)
        end = &(*end)->next;
    *end = (struct node *)((char *)malloc(8 + sizeof **end) + 8);
    (*end)->function = it;
    (*end)->next = 0;
}
int keeper_call(void) {
    int sum = list ? 0 : -1;
    for (struct node *it = list; it; it = it->next)
        sum += it->function();
    return sum;
}
";

#[track_caller]
fn call(host: &Host, prefix: &str) -> String {
    let answer = host.get(&format!("{prefix}/call?library=libkeeper.so"));
    answer.assert_status(200).text().to_owned()
}

/// Registered by a request, of which no preflight knows: what stays keeps it, and goes on calling it.
/// It is unloaded when it is forgotten, and when nobody else needs the keeper any more.
#[test]
fn a_block_of_what_stays_holds_a_library() {
    let Some((builder, _)) = with_keeper_of(host!(), LIST) else { return };
    let host = builder.start();
    let pid = host.worker_pid();
    host.deploy_bytes(&needs_keeper(0), "libother_v1.so").swapped();
    let generations = [1, 2, 3].map(|number| {
        let swapped = host.deploy_bytes(&needs_keeper(number), "libhandler_v1.so").swapped();
        assert!(!swapped.notes.contains("resident"), "{}", swapped.notes);
        host.get("/keep?library=libkeeper.so").assert_status(200);
        swapped.generation
    });
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    for generation in generations {
        let found = kept_or_gone(&host, generation, "held by");
        assert!(found.contains(HELD), "{found}");
    }
    assert_eq!(call(&host, "/other"), "call 126", "each is there to be called");
    host.get("/other/forget?library=libkeeper.so").assert_status(200);
    for generation in generations {
        // In whichever order.
        ended_as(&host, generation, &[]);
    }
    assert_eq!(call(&host, "/other"), "call -1");
    let generation = host.deploy_bytes(&needs_keeper(4), "libhandler_v3.so").swapped().generation;
    host.get("/keep?library=libkeeper.so").assert_status(200);
    host.deploy(&fault("plain_v2"), "libhandler_v4.so").swapped();
    let found = kept_or_gone(&host, generation, "held by");
    assert!(found.contains(HELD), "{found}");
    host.control().unload("other").assert_status(200);
    ended_as(&host, generation, &[]);
    eventually!(!keeper_is_mapped(&host), "it goes with the last that needs it");
    assert_eq!(host.worker_pid(), pid, "no worker was lost");
}

/// Registered by `new`: the preflight tells of it, although the keeper goes with the library there. The
/// next version finds it there, and calls all that it keeps.
#[test]
fn a_deploy_tells_who_will_hold_its_library() {
    let Some((builder, _)) = with_keeper_of(host!(), LIST) else { return };
    let host = builder.start();
    let pid = host.worker_pid();
    let mut generations = Vec::new();
    for number in 0..4 {
        let name = format!("libhandler_v{number}.keeper.so");
        let swapped = host.deploy_bytes(&needs_keeper(number), &name).swapped();
        let note = format!("at the end of the preflight it was still there ({HELD})");
        assert!(swapped.notes.contains(&note), "{}", swapped.notes);
        assert_eq!(call(&host, ""), format!("call {}", 42 * (number + 1)));
        generations.push(swapped.generation);
    }
    generations.pop();
    let mut events = host.events();
    let mut residents: Vec<u64> = generations
        .iter()
        .map(|_| {
            let resident = events.wait_for(|it| it.phase == "resident");
            assert!(resident.detail.contains(HELD), "{}", resident.json);
            resident.generation
        })
        .collect();
    residents.sort_unstable();
    assert_eq!(residents, generations, "all but the last");
    assert_eq!(wire::number(&host.status(), "/resident_count"), 3);
    assert_eq!(host.worker_pid(), pid, "no worker was lost");
}

/// Where everything has to unload, it is refused before it serves; `check` says so, too.
#[test]
fn what_would_be_held_is_refused_where_all_must_unload() {
    let Some((builder, keeper)) = with_keeper_of(host!().arg("--unload=require"), LIST) else {
        return;
    };
    let host = builder.start();
    host.deploy_bytes(&needs_keeper(0), "libhandler_v1.so").swapped();
    let offered = host.deploy_bytes(&needs_keeper(1), "libhandler_v2.keeper.so");
    offered.answer.assert_status(422).assert_contains(HELD);
    let library = keeper.with_file_name("libhandler_v3.keeper.so");
    std::fs::write(&library, needs_keeper(2)).unwrap();
    let mut check = host.command();
    check.arg("check").arg(&library).env("LD_LIBRARY_PATH", keeper.parent().unwrap());
    let check = check.output().unwrap();
    let text = String::from_utf8_lossy(&check.stdout);
    assert!(text.contains("may stay resident") && text.contains(HELD), "{text}");
}

/// What goes with the library may keep what it likes in its blocks.
#[test]
fn a_block_of_what_goes_holds_nothing() {
    let Some((builder, _)) = with_keeper_of(host!(), LIST) else { return };
    let host = builder.start();
    let mut events = host.events();
    for number in 0..3 {
        let name = format!("libhandler_v{number}.keeper.so");
        let generation = host.deploy_bytes(&needs_keeper(number), &name).swapped().generation;
        assert_eq!(call(&host, ""), "call 42");
        host.deploy(&fault("plain_v2"), "libhandler_v99.so").swapped();
        events.wait_generation(generation, "unloaded");
        assert!(!keeper_is_mapped(&host), "it goes with the plugin that needs it");
    }
}
