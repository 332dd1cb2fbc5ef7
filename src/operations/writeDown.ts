import {type CommandContext, openExecute} from '../commands/execute.ts'
import type {OperationsEvent} from '../domain/operations.ts'
import type {Foundation} from '../foundation.ts'
import {OPERATIONS_STREAM, operationsFold} from '../streams/streams.ts'

/** Who acts at the command line: which person that is only the operator's own system knows. */
export const OPERATOR = 'operator'

/** Writes down what a command of an operator changed. Gives the event's id: what comes of it names it as its cause. */
export const writeDown = async (
  {log, codec}: Pick<Foundation, 'log' | 'codec'>,
  event: OperationsEvent,
  context: Omit<CommandContext, 'actor'>,
): Promise<string | undefined> => {
  const {execute} = openExecute({log, codec})
  const written = await execute(OPERATIONS_STREAM, operationsFold, {...context, actor: OPERATOR}, () => [event])
  return 'eventId' in written ? written.eventId : undefined
}
