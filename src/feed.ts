import type {Logger} from 'pino'
import {type Execute, openExecute} from './commands/execute.ts'
import type {Foundation} from './foundation.ts'
import {addressOf, isFaulty} from './log/codec.ts'
import {openTail, type Tail} from './log/tail.ts'
import {type Applied, openApplied} from './projections/applied.ts'
import {openRunner, type Runner} from './projections/runner.ts'
import {tables} from './projections/tables.ts'

export type Feed = {
  tail: Tail
  execute: Execute
  applied: Applied
  runner: Runner
  /** After this nothing can listen to the tail any more without having missed something. */
  start(): Promise<void>
  stop(): Promise<void>
}

/** What follows the log: remembered state, and the read tables, which this process feeds where no other does. */
export const openFeed = (
  {url, pool, log, logIdentity, codec}: Foundation,
  {logger, onFatal}: {logger: Logger; onFatal: (reason: string) => void},
): Feed => {
  const tail = openTail({
    log,
    codec,
    onEnd: (error) => onFatal(`the log can't be followed any more: ${String(error)}`),
  })
  const execute = openExecute({log, codec})
  tail.listen(execute.observe)
  tail.listen((event) => {
    if (isFaulty(event))
      logger.warn({event: addressOf(event), fault: event.fault}, 'an event in the log can not be read')
  })
  tail.listen((event) => {
    if (event.type !== 'UserErased') return
    // What is remembered may hold the person's words.
    execute.forget()
    tail.forget()
  })
  const applied = openApplied({url, pool, tables})
  const runner = openRunner({url, pool, log, codec, logIdentity, tail, tables, applied, logger})
  return {
    tail,
    execute,
    applied,
    runner,
    start: async () => {
      await tail.start()
      await runner.check()
      await applied.start()
      runner.start()
    },
    stop: async () => {
      await runner.stop()
      await applied.stop()
      await tail.stop()
    },
  }
}
