"""The same thing said in nine languages, and in both scripts of Chinese, is the same to MAE: an error or none."""

from __future__ import annotations

import json

import pytest

from tl_jax.tooluse.mae.apply import Category, find_error

TWINS: dict[str, tuple[Category | None, tuple[str, ...]]] = {
    "no flights": (
        None,
        (
            "No flights found.",
            "No such flights.",
            "未找到符合条件的航班。",
            "没有这样的航班。",
            "找不到符合条件的航班",
            "找不到符合條件的航班",
            "無法搜尋到符合條件的航班",
            "조건에 맞는 항공편을 찾을 수 없습니다.",
            "해당 항공편이 없습니다.",
            "該当するフライトは見つかりませんでした。",
            "No se encontraron vuelos.",
            "No se pudo encontrar ningún vuelo.",
            "Aucun vol trouvé.",
            "Keine Flüge gefunden.",
            "Nenhum voo encontrado.",
            "Рейсы не найдены.",
        ),
    ),
    "no errors": (
        None,
        (
            "No errors were found.",
            "没有错误。",
            "沒有錯誤。",
            "未发现错误",
            "没有请求失败。",
            "沒有請求失敗。",
            "5 個成功，0 個失敗。",
            "오류가 발생하지 않았습니다.",
            "오류가 없습니다.",
            "실패: 0건",
            "エラーは見つかりませんでした。",
            "エラーは発生しませんでした。",
            "No se encontraron errores.",
            "Aucune erreur trouvée.",
            "Keine Fehler gefunden.",
            "Nenhum erro encontrado.",
            "Ошибок не найдено.",
        ),
    ),
    "prose about errors": (
        None,
        (
            "Error rate: 3 % over the last day",
            "错误率为3%，低于平均水平。",
            "錯誤率為3%，低於平均水平。",
            "请求失败率为3%",
            "服务器错误日志",
            "오류율은 3 %입니다.",
            "오류 신고는 고객센터로 연락해 주세요.",
            "エラー率は3%です。",
            "La tasa de error es del 3 %.",
            "Le taux d'erreur est de 3 %.",
            "Die Fehlerquote liegt bei 3 %.",
            "A taxa de erro é de 3 %.",
            "Доля ошибок составляет 3 %.",
        ),
    ),
    "an error occurred": (
        Category.UNKNOWN_ERROR,
        (
            "An error occurred.",
            "Sorry, an error occurred.",
            "发生错误。",
            "發生錯誤。",
            "오류가 발생했습니다.",
            "エラーが発生しました。",
            "Se ha producido un error.",
            "Une erreur est survenue.",
            "Ein Fehler ist aufgetreten.",
            "Ocorreu um erro.",
            "Произошла ошибка.",
        ),
    ),
    "invalid parameter": (
        Category.BAD_VALUE,
        (
            "Invalid parameter: date",
            "无效的参数：date",
            "無效的參數：date",
            "잘못된 매개변수: date",
            "無効なパラメータ: date",
            "Parámetro inválido: date",
            "Paramètre invalide : date",
            "Ungültiger Parameter: date",
            "Parâmetro inválido: date",
            "Неверный параметр: date",
        ),
    ),
    "missing parameter": (
        Category.MISSING_PARAMETER,
        (
            "Missing parameter: city",
            "缺少参数：city",
            "缺少參數：city",
            "필수 매개변수 city가 누락되었습니다.",
            "パラメータ city が指定されていません。",
            "Falta el parámetro city",
            "Le paramètre city est manquant",
            "Der Parameter city fehlt",
            "Falta o parâmetro city",
            "Отсутствует параметр city",
        ),
    ),
    "timed out": (
        Category.ENVIRONMENT,
        (
            "Request timed out",
            "请求超时",
            "請求逾時",
            "요청 시간이 초과되었습니다.",
            "リクエストがタイムアウトしました。",
            "Tiempo de espera agotado",
            "Délai d'attente dépassé",
            "Zeitüberschreitung der Anfrage",
            "Tempo limite excedido",
            "Превышено время ожидания",
        ),
    ),
    "errors counted, and there are none": (
        None,
        (
            "Errors: 0, warnings: 2",
            "错误: 0，警告: 2",
            "系统错误：0",
            "錯誤：無",
            "请求失败: 0 次，成功: 5 次",
            "오류: 0건",
            "エラー: なし",
            "Errores: 0, avisos: 2",
            "Erreur : aucune",
            "Fehler: 0",
            "Erros: nenhum",
            "Ошибка: нет",
        ),
    ),
    "no connection": (
        Category.ENVIRONMENT,
        (
            "Unable to connect to the server.",
            "无法连接服务器",
            "無法連線到伺服器",
            "連線失敗",
            "서버에 연결할 수 없습니다.",
            "サーバーに接続できません。",
            "No se pudo conectar con el servidor.",
            "Impossible de se connecter au serveur.",
            "Die Verbindung zum Server ist fehlgeschlagen.",
            "Não foi possível conectar ao servidor.",
            "Не удалось подключиться к серверу.",
        ),
    ),
    "access denied": (
        Category.ENVIRONMENT,
        (
            "Access denied.",
            "权限不足",
            "權限不足",
            "请求失败，没有权限",
            "請求失敗，沒有權限",
            "접근 권한이 없습니다.",
            "アクセス権限がありません。",
            "Acceso denegado.",
            "Accès refusé.",
            "Zugriff verweigert.",
            "Acesso negado.",
            "Доступ запрещён.",
        ),
    ),
}
CASES = [(category, text) for category, texts in TWINS.values() for text in texts]


@pytest.mark.parametrize(("category", "text"), CASES)
@pytest.mark.parametrize("wrap", [str, lambda text: json.dumps({"message": text}), lambda text: f"<p>{text}</p>"])
def test_twins_are_told_alike(category: Category | None, text: str, wrap: type[str]) -> None:
    finding = find_error(wrap(text))
    assert (finding and finding.category) == category
