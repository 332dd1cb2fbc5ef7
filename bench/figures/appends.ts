import {type Figure, inTurn, judge} from '../harness.ts'

const WRITERS = 64

export const appends: Figure = {
  name: 'appends',
  measure: async (bench) => {
    const {place, quick} = bench
    const url = await place.freshDatabase(async () => {})
    const measure = (mode: 'log' | 'locked' | 'bare') => () =>
      place.work<{perSecond: number}>('appends.ts', {mode, url, writers: WRITERS, seconds: quick ? 0.5 : 3})
    const samples = await inTurn(
      bench,
      {log: measure('log'), locked: measure('locked'), bare: measure('bare')},
      {afresh: true},
    )
    const of = (side: {perSecond: number}[]) => side.map(({perSecond}) => perSecond)
    const about = {
      figure: `append, ${WRITERS} writers, one event each, durable`,
      unit: 'events/s',
      ours: of(samples.log),
      leavesOut: 'Deciding, sealing and the read tables; a network. The database has one core, as in every figure.',
    }
    return [
      judge({
        ...about,
        against: 'the same locked statement without group commit, 64 connections',
        baseline: of(samples.locked),
        atLeast: 4,
      }),
      judge({...about, against: 'bare INSERTs on 64 connections', baseline: of(samples.bare), atLeast: 1.5}),
    ]
  },
}
