import {type Figure, inTurn, judge} from '../harness.ts'
import {postsDatabase} from './postPages.ts'

export const starts: Figure = {
  name: 'starts',
  measure: async (bench) => {
    const {place, quick} = bench
    const [few, many] = quick ? [200, 1_000] : [1_000, 1_000_000]
    const [small, large] = [await postsDatabase(bench, few), await postsDatabase(bench, many)]
    const measure = (databaseUrl: string) => async () => {
      const running = await place.server({databaseUrl})
      await running.stop()
      return running.startMs
    }
    const {ours, same} = await inTurn(bench, {ours: measure(large), same: measure(small)}, {afresh: true})
    const about = {
      figure: `start to ready with ${many.toLocaleString('en')} events in the log`,
      unit: 'ms',
      ours,
      leavesOut:
        'The start of the embedded PostgreSQL (about half a second), which runs already; a first start, which makes the schema; reading tables anew.',
    }
    return [
      judge({...about, against: `with ${few.toLocaleString('en')}`, baseline: same, atMost: 1.2}),
      judge({...about, against: '2 s', baseline: [2_000], atMost: 1}),
    ]
  },
}
