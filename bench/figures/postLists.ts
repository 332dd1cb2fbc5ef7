import {answerOf, assertSame} from '../answers.ts'
import {type Bench, type Figure, inTurn, judge, type Row} from '../harness.ts'
import {load, rates} from '../load.ts'
import {postsDatabase} from './postPages.ts'

const LEAVES_OUT =
  'TLS, a network, clients that already have the list (304), and what an answer costs that nobody asked for since the last change (one reading of the table).'

const list = async (bench: Bench, count: number): Promise<Row[]> => {
  const {place, quick} = bench
  const databaseUrl = await postsDatabase(bench, count, 200)
  const ours = await place.server({databaseUrl})
  const answers = [await answerOf(ours.url, '/api/posts')]
  const same = await place.baseline('fixedAnswers.ts', {middleware: true, answers})
  const none = await place.baseline('fixedAnswers.ts', {middleware: false, answers})
  await assertSame(ours.url, same.url, '/api/posts')
  const seconds = quick ? 1 : 4
  const requests = [{path: '/api/posts'}]
  const samples = await inTurn(bench, {
    ours: () => load(ours, {seconds, requests}),
    same: () => load(same, {seconds, requests}),
    none: () => load(none, {seconds, requests}),
  })
  await place.endProcesses()
  const {unit, of} = rates(samples)
  const figure = `GET /api/posts, ${count.toLocaleString('en')} posts, 100 connections`
  return [
    judge({
      figure,
      against: 'Express with the same middleware and headers, the same bytes from memory',
      unit,
      ours: of(samples.ours),
      baseline: of(samples.same),
      atLeast: 0.9,
      leavesOut: LEAVES_OUT,
    }),
    judge({
      figure,
      against: 'Express with none, the same bytes from memory',
      unit,
      ours: of(samples.ours),
      baseline: of(samples.none),
      shownOnly: true,
      leavesOut: LEAVES_OUT,
    }),
  ]
}

export const postLists: Figure = {
  name: 'post-lists',
  measure: async (bench) => [...(await list(bench, 20)), ...(bench.quick ? [] : await list(bench, 2_000))],
}
