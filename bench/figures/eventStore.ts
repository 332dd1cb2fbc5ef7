import {type Figure, inTurn, judge} from '../harness.ts'

const WRITERS = 64

export const eventStore: Figure = {
  name: 'event-store',
  measure: async (bench) => {
    const {place, quick, say} = bench
    const url = process.env.EVENTSTORE_URL
    if (!url) {
      say('left out: EVENTSTORE_URL names no EventStoreDB that may be written to')
      return []
    }
    const prefix = `bench${Date.now()}.`
    const options = {url, prefix, writers: WRITERS, seconds: quick ? 0.5 : 3, events: quick ? 1_000 : 100_000}
    const work = (side: 'adapter' | 'client', what: 'append' | 'catchUp' | 'fill') => () =>
      place.work<{perSecond: number}>('eventStore.ts', {...options, side, what})
    const of = (side: {perSecond: number}[]) => side.map(({perSecond}) => perSecond)
    await work('adapter', 'fill')()
    const caughtUp = await inTurn(
      bench,
      {ours: work('adapter', 'catchUp'), same: work('client', 'catchUp')},
      {afresh: true},
    )
    const appended = await inTurn(
      bench,
      {ours: work('adapter', 'append'), same: work('client', 'append')},
      {afresh: true},
    )
    const about = {
      against: '@eventstore/db-client on the same path',
      unit: 'events/s',
      atLeast: 0.9,
      leavesOut: 'One node without TLS on this machine, which shares its cores; a cluster answers more slowly.',
    }
    return [
      judge({
        ...about,
        figure: `EventStoreDB adapter: append, ${WRITERS} writers`,
        ours: of(appended.ours),
        baseline: of(appended.same),
      }),
      judge({
        ...about,
        figure: 'EventStoreDB adapter: catch-up subscription',
        ours: of(caughtUp.ours),
        baseline: of(caughtUp.same),
      }),
    ]
  },
}
