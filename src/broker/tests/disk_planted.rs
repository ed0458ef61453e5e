//! Does the simulation find what it is for? Each mistake is made on purpose and has to be found.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ringmq_shards::log::planted::{Bug, plant};

use super::disk::{crash_again_and_again, die_and_crash, one_lags};
use super::disk_faults::{fail_once, rot_twice};
use super::session_histories::come_go_and_crash;

/// Seeds within which a mistake has to be found.
const SEEDS_MAX: u64 = 400;

#[test]
fn every_mistake_is_found() {
    for bug in Bug::ALL {
        let history: fn(u64) = match bug {
            Bug::SwallowError | Bug::RetrySync => |seed| {
                fail_once(seed);
            },
            Bug::SettleFirst => |seed| {
                die_and_crash(seed);
            },
            Bug::ForgetEarlierBoots => one_lags,
            Bug::SweepOnDamage => |seed| {
                rot_twice(seed);
            },
            Bug::ForgetReceipts
            | Bug::SettleWillFirst
            | Bug::ReportRetainedEarly
            | Bug::LetSessionsLiveOn
            | Bug::PublishWithdrawnWill => |seed| {
                come_go_and_crash(seed);
            },
            Bug::ConfirmBeforeSync
            | Bug::SkipDirSync
            | Bug::ReusePositions
            | Bug::LeaveBeforeSegment
            | Bug::RetireTooSoon => |seed| {
                crash_again_and_again(seed);
            },
        };
        plant(Some(bug));
        let found =
            (1..=SEEDS_MAX).find(|seed| catch_unwind(AssertUnwindSafe(|| history(*seed))).is_err());
        plant(None);
        eprintln!("PLANTED {bug:?} is found with seed {found:?}");
        assert!(
            found.is_some() || std::env::var("RINGMQ_DISK_ALL").is_ok(),
            "{bug:?} is not found"
        );
    }
}
