//! Which member is to own which partition. All members compute it from what the bucket holds, and
//! come to the same result without a leader.

/// Returns the member that is to own each partition, given the one that owns it now. Every member
/// gets the same number or one more, and no partition moves that need not.
pub(crate) fn assign(members: usize, owners: &[Option<usize>]) -> Vec<Option<usize>> {
    if members == 0 {
        return vec![None; owners.len()];
    }
    let mut room = shares(members, owners);
    let mut keep = |owner: usize| {
        let has_room = room.get(owner).is_some_and(|room| *room > 0);
        if has_room {
            room[owner] -= 1;
        }
        has_room
    };
    let mut targets: Vec<_> = owners.iter().map(|owner| owner.filter(|owner| keep(*owner))).collect();
    let mut taker = 0;
    for target in targets.iter_mut().filter(|target| target.is_none()) {
        while room.get(taker) == Some(&0) {
            taker += 1;
        }
        if let Some(room) = room.get_mut(taker) {
            *room -= 1;
            *target = Some(taker);
        }
    }
    targets
}

/// Returns how many partitions each member is to own.
fn shares(members: usize, owners: &[Option<usize>]) -> Vec<usize> {
    let (floor, more) = (owners.len() / members, owners.len() % members);
    let mut owned = vec![0; members];
    for owner in owners.iter().flatten() {
        if let Some(owned) = owned.get_mut(*owner) {
            *owned += 1;
        }
    }
    // First those that have one more already: so the fewest move. Those that have less must not be
    // ranked by it, or the shares would change with every claim.
    let mut ranked: Vec<usize> = (0..members).collect();
    ranked.sort_by_key(|member| owned[*member] <= floor);
    let mut shares = vec![floor; members];
    for member in &ranked[..more] {
        shares[*member] += 1;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(members: usize, targets: &[Option<usize>]) -> Vec<usize> {
        (0..members).map(|member| targets.iter().filter(|target| **target == Some(member)).count()).collect()
    }

    fn moves(owners: &[Option<usize>], targets: &[Option<usize>]) -> usize {
        owners.iter().zip(targets).filter(|(owner, target)| owner.is_some() && owner != target).count()
    }

    #[test]
    fn shares_are_even_for_any_owners() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..2_000 {
            let (members, partitions) = (rng.usize(1..30), rng.usize(1..70));
            let owners: Vec<_> = (0..partitions).map(|_| rng.bool().then(|| rng.usize(0..members))).collect();
            let targets = assign(members, &owners);
            let counts = counts(members, &targets);
            assert!(targets.iter().all(Option::is_some));
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
            // Followed, it stays as it is.
            assert_eq!(assign(members, &targets), targets);
        }
    }

    #[test]
    fn a_member_that_joins_gets_its_share_and_nothing_else_moves() {
        for (members, partitions) in [(2, 8), (3, 64), (7, 64), (20, 64), (99, 512)] {
            let before = assign(members, &vec![None; partitions]);
            let after = assign(members + 1, &before);
            assert_eq!(moves(&before, &after), partitions / (members + 1), "{members} members");
        }
    }

    /// Members see claims at different times; what each takes for its share must be the same.
    #[test]
    fn shares_stay_while_they_are_being_claimed() {
        let mut rng = fastrand::Rng::with_seed(2);
        for _ in 0..500 {
            let (members, partitions) = (rng.usize(1..12), rng.usize(1..40));
            let mut owners = vec![None; partitions];
            let targets = assign(members, &owners);
            let mut order: Vec<usize> = (0..partitions).collect();
            rng.shuffle(&mut order);
            for partition in order {
                owners[partition] = targets[partition];
                assert_eq!(assign(members, &owners), targets);
            }
        }
    }

    #[test]
    fn without_members_nothing_is_assigned() {
        assert_eq!(assign(0, &[None, None]), [None, None]);
    }
}
