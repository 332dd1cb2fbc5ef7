import {randomUUID} from 'node:crypto'
import {ServerResponse, STATUS_CODES} from 'node:http'
import {type ApiError, errorBody} from '../edge/errors.ts'
import {STATUS} from './statuses.ts'

/** The error answer of a socket's handshake. To an upgrade there is no response object, only the connection. */
export const refuseHandshake = (res: ServerResponse, error: ApiError): void => {
  const status = STATUS[error.code]
  const body = JSON.stringify(errorBody(error, randomUUID()))
  const headers = {
    'Content-Type': 'application/json; charset=utf-8',
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
    Connection: 'close',
  }
  if (res instanceof ServerResponse) {
    res.writeHead(status, headers).end(body)
    return
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  const {socket} = res as {socket: NodeJS.WritableStream}
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}\r\n${body}`)
}
