//! Servers and load apart, each on cores of its own.
//!
//! Owns the division. Side by side on the same cores the load's caches and time slices are part of what a
//! request costs, and the same server differs by half from one minute to the next.

use anyhow::Context as _;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores of the two sides. What is started belongs to the side that the calling thread is on.
#[derive(Debug)]
pub(crate) struct Cores {
    servers: CpuSet,
    load: CpuSet,
}

impl Cores {
    /// One half for each side; `None` where there is only one core.
    pub(crate) fn divide() -> anyhow::Result<Option<Self>> {
        let all = sched_getaffinity(None).context("read this thread's cores")?;
        let all: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| all.is_set(core)).collect();
        if all.len() < 2 {
            println!("one core: servers and load share it, the figures scatter widely");
            return Ok(None);
        }
        let (servers, load) = all.split_at(all.len() / 2);
        println!("servers on cores {servers:?}, load on {load:?}");
        Ok(Some(Self { servers: set(servers), load: set(load) }))
    }

    /// What is started from now on is a server.
    pub(crate) fn serve(&self) -> anyhow::Result<()> {
        sched_setaffinity(None, &self.servers).context("go to the servers' cores")
    }

    /// What is started from now on is load. Tells how many threads it has room for.
    pub(crate) fn load(&self) -> anyhow::Result<u32> {
        sched_setaffinity(None, &self.load).context("go to the load's cores")?;
        Ok(self.load.count())
    }
}

fn set(cores: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core);
    }
    set
}
