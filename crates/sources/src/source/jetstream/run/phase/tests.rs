use proptest::prelude::*;

use super::{AskReason::*, CatchUp::*, NeededRequest as Need, PhaseInput::*, *};

const REASONS: [AskReason; 4] = [Routine, NoMessages, Reconnect, Rewind];
const INPUTS: [PhaseInput; 15] = [
    Doubted(Routine),
    Doubted(NoMessages),
    Doubted(Reconnect),
    Doubted(Rewind),
    Asked,
    Unanswered,
    Answered,
    Gone,
    Found,
    StartedOver,
    MissedDelivery,
    Read { is_last: false },
    Read { is_last: true },
    MustTakeOver,
    TakenOver { has_readings: false },
];
const TO_READ: PhaseInput = TakenOver { has_readings: true };

fn due(reason: AskReason) -> Option<InfoRequest> {
    Some(InfoRequest { reason, is_due: true })
}

fn asked(reason: AskReason) -> Option<InfoRequest> {
    Some(InfoRequest { reason, is_due: false })
}

fn requests() -> impl Iterator<Item = Option<InfoRequest>> {
    REASONS.into_iter().flat_map(|reason| [due(reason), asked(reason)]).chain([None])
}

fn phases() -> impl Iterator<Item = ConsumerPhase> {
    requests().flat_map(|request| {
        [Done, Reading, TakingOver].into_iter().flat_map(move |catch_up| {
            [ConsumerPhase::present(request, catch_up), ConsumerPhase::Lost(request, catch_up)]
        })
    })
}

/// Inputs that change the question: from, input, to. Any other leaves it as it is.
fn changes_of_the_question() -> Vec<(Option<InfoRequest>, PhaseInput, Option<InfoRequest>)> {
    let mut rows = Vec::new();
    for (earlier, reason) in REASONS.into_iter().enumerate() {
        rows.extend([
            (None, Doubted(reason), due(reason)),
            (due(reason), Asked, asked(reason)),
            (due(reason), Answered, due(Routine)),
            (due(reason), StartedOver, due(Routine)),
            (asked(reason), Unanswered, due(reason)),
            (asked(reason), Answered, None),
            (asked(reason), StartedOver, None),
            (asked(reason), Doubted(reason), due(reason)),
        ]);
        for weaker in REASONS.into_iter().take(earlier) {
            rows.extend([
                (due(weaker), Doubted(reason), due(reason)),
                (asked(weaker), Doubted(reason), due(reason)),
                (asked(reason), Doubted(weaker), due(reason)),
            ]);
        }
    }
    rows
}

/// Inputs that change what has to be caught up with.
const CATCH_UPS: [(CatchUp, PhaseInput, CatchUp); 9] = [
    (Done, MissedDelivery, Reading),
    (Done, MustTakeOver, TakingOver),
    (Done, TO_READ, Reading),
    (Reading, Read { is_last: true }, Done),
    (Reading, StartedOver, Done),
    (Reading, MustTakeOver, TakingOver),
    (Reading, TakenOver { has_readings: false }, Done),
    (TakingOver, TakenOver { has_readings: false }, Done),
    (TakingOver, TO_READ, Reading),
];

#[test]
fn each_input_leads_where_the_tables_say() {
    let questions = changes_of_the_question();
    for phase in phases() {
        for input in INPUTS.into_iter().chain([TO_READ]) {
            let (request, catch_up) = (phase.request(), phase.catch_up());
            let question = questions.iter().find(|row| (row.0, row.1) == (request, input)).map_or(request, |row| row.2);
            let work = CATCH_UPS.iter().find(|row| (row.0, row.1) == (catch_up, input)).map_or(catch_up, |row| row.2);
            let is_lost = input == Gone || (phase.is_lost() && input != Found);
            let expected =
                if is_lost { ConsumerPhase::Lost(question, work) } else { ConsumerPhase::present(question, work) };
            assert_eq!(phase.after(input), expected, "{phase:?} {input:?}");
        }
    }
}

#[test]
fn the_first_open_question_decides_what_is_needed() {
    use ConsumerPhase::{Asking, Known, Lost};
    let asked = InfoRequest { reason: Routine, is_due: false };
    let due = InfoRequest { reason: Routine, is_due: true };
    let needs = [
        (Lost(Some(due), TakingOver), Some(Need::Find)),
        (Asking(due, TakingOver), Some(Need::Ask)),
        (Asking(asked, TakingOver), Some(Need::TakeOver)),
        (Known(TakingOver), Some(Need::TakeOver)),
        (Known(Reading), Some(Need::Read)),
        (Known(Done), None),
    ];
    for (phase, need) in needs {
        assert_eq!(phase.needs(), need, "{phase:?}");
    }
}

#[derive(Clone, Copy, Debug)]
enum ModelStep {
    Hear(PhaseInput),
    /// A request that the phase needs leaves.
    Start,
    Fail,
    /// The server answers, and a consumer that is found or created needs this.
    Answer(Option<PhaseInput>),
    /// The server has answered with another consumer, or with none.
    AnswerOther(PhaseInput),
    /// The client is replaced: the request under way is gone.
    Renew,
}

fn step() -> impl Strategy<Value = ModelStep> {
    let heard = [MissedDelivery, MustTakeOver, Gone].into_iter().chain(REASONS.map(Doubted)).collect::<Vec<_>>();
    prop_oneof![
        3 => prop::sample::select(heard).prop_map(ModelStep::Hear),
        4 => Just(ModelStep::Start),
        1 => Just(ModelStep::Fail),
        3 => prop::sample::select(vec![None, Some(MissedDelivery), Some(MustTakeOver)]).prop_map(ModelStep::Answer),
        1 => prop::sample::select(vec![StartedOver, Gone]).prop_map(ModelStep::AnswerOther),
        1 => Just(ModelStep::Renew),
    ]
}

/// A source beside its phase: the facts by themselves, each with what makes it true and untrue.
struct SourceModel {
    phase: ConsumerPhase,
    under_way: Option<Need>,
    readings: usize,
    is_lost: bool,
    /// There was a doubt since the last question left.
    is_unsure: bool,
    /// Deliveries may be lost or void.
    is_held: bool,
    is_taking_over: bool,
}

impl SourceModel {
    fn new() -> Self {
        let phase = ConsumerPhase::Known(Done);
        let (under_way, readings) = (None, 0);
        let (is_lost, is_unsure, is_held, is_taking_over) = (false, false, false, false);
        Self { phase, under_way, readings, is_lost, is_unsure, is_held, is_taking_over }
    }

    fn hear(&mut self, input: PhaseInput) {
        match input {
            Doubted(reason) => {
                self.is_unsure = true;
                self.is_held |= reason >= Reconnect;
            }
            Asked => self.is_unsure = false,
            Unanswered => self.is_unsure = true,
            Answered => self.is_held = false,
            StartedOver => (self.is_held, self.readings) = (false, 0),
            Gone => self.is_lost = true,
            Found => self.is_lost = false,
            MissedDelivery => self.readings += 1,
            MustTakeOver => self.is_taking_over = true,
            TakenOver { .. } => self.is_taking_over = false,
            Read { .. } => {}
        }
        self.phase = self.phase.after(input);
    }

    fn take(&mut self, step: ModelStep) {
        match step {
            ModelStep::Hear(input) => self.hear(input),
            ModelStep::Start if self.under_way.is_none() => {
                self.under_way = self.phase.needs();
                if self.under_way == Some(Need::Ask) {
                    self.hear(Asked);
                }
            }
            ModelStep::Fail => {
                if self.under_way.take() == Some(Need::Ask) {
                    self.hear(Unanswered);
                }
            }
            ModelStep::Answer(next) => self.answer(next),
            ModelStep::AnswerOther(input) => match (self.under_way, input) {
                (Some(Need::Ask), _) | (Some(Need::TakeOver), Gone) => {
                    self.under_way = None;
                    self.hear(input);
                }
                _ => {}
            },
            ModelStep::Renew => {
                self.under_way = None;
                self.hear(Doubted(Reconnect));
            }
            ModelStep::Start => {}
        }
    }

    fn answer(&mut self, next: Option<PhaseInput>) {
        match self.under_way.take() {
            Some(Need::Find) => {
                self.hear(Found);
                self.hear(StartedOver);
                if let Some(input) = next {
                    self.hear(input);
                }
            }
            Some(Need::Ask) => self.hear(Answered),
            Some(Need::TakeOver) => self.hear(TakenOver { has_readings: self.readings > 0 }),
            Some(Need::Read) if self.readings > 0 => {
                self.readings -= 1;
                self.hear(Read { is_last: self.readings == 0 });
            }
            Some(Need::Read) | None => {}
        }
    }

    /// Request that the facts need, in the order in which they are asked.
    fn needs(&self) -> Option<Need> {
        let facts = [
            (self.is_lost, Need::Find),
            (self.is_unsure, Need::Ask),
            (self.is_taking_over, Need::TakeOver),
            (self.readings > 0, Need::Read),
        ];
        facts.into_iter().find_map(|(is_open, need)| is_open.then_some(need))
    }
}

proptest! {
    #[test]
    fn nothing_is_taken_before_what_it_must_not_overtake(steps in prop::collection::vec(step(), 0..60)) {
        let mut model = SourceModel::new();
        for step in steps {
            model.take(step);
            let is_free = !model.is_held && !model.is_taking_over && model.readings == 0;
            prop_assert_eq!(model.phase.takes_messages(), is_free, "{:?}", model.phase);
            prop_assert_eq!(model.phase.pulls_messages(), is_free && !model.is_lost, "{:?}", model.phase);
        }
    }

    #[test]
    fn whatever_is_open_is_asked_for_in_its_turn(steps in prop::collection::vec(step(), 0..60)) {
        let mut model = SourceModel::new();
        for step in steps {
            model.take(step);
            prop_assert_eq!(model.phase.needs(), model.needs(), "{:?}", model.phase);
        }
    }

    #[test]
    fn a_request_that_fails_is_needed_again(steps in prop::collection::vec(step(), 0..60)) {
        let mut model = SourceModel::new();
        for step in steps {
            model.take(step);
            if model.under_way.is_none() {
                let need = model.phase.needs();
                let before = model.phase;
                model.take(ModelStep::Start);
                model.take(ModelStep::Fail);
                prop_assert_eq!((model.phase.needs(), model.phase), (need, before));
            }
        }
    }

    #[test]
    fn answers_lead_back_to_a_flow_of_messages(steps in prop::collection::vec(step(), 0..60)) {
        let mut model = SourceModel::new();
        for step in steps {
            model.take(step);
        }
        // At most: what is under way, the consumer, the question, the takeover, and each reading.
        for _ in 0..4 + model.readings {
            model.take(ModelStep::Start);
            model.take(ModelStep::Answer(None));
        }
        prop_assert_eq!(model.phase, ConsumerPhase::Known(Done));
        prop_assert!(model.phase.pulls_messages());
    }

    #[test]
    fn a_doubt_is_followed_by_another_question(
        steps in prop::collection::vec(step(), 0..60),
        reason in prop::sample::select(&REASONS[..]),
    ) {
        let mut model = SourceModel::new();
        for step in steps {
            model.take(step);
        }
        model.hear(Doubted(reason));
        // What was under way when the doubt came answers nothing of it.
        model.take(ModelStep::Answer(None));
        let mut asked = Vec::new();
        for _ in 0..4 + model.readings {
            asked.extend(model.phase.needs());
            model.take(ModelStep::Start);
            model.take(ModelStep::Answer(None));
        }
        prop_assert!(asked.contains(&Need::Ask), "{asked:?}");
    }
}
